"""What the logits of one pass give away by themselves: three scores, nothing fitted but a threshold.

- **energy**: −log Σ exp of the logits. Source: Liu, Wang, Owens and Li, "Energy-based Out-of-distribution
  Detection", NeurIPS 2020.
- **largest logit**. Source: Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World
  Settings", ICML 2022 ("max logit").
- **smallest margin**: largest minus second largest logit; near 0 just past a decision boundary, where
  minimum-norm attacks stop.

The papers flag inputs with *little* evidence. Attacks within a budget overdrive the logits instead, and
minimum-norm attacks underdrive them, so energy and largest logit are cut on both sides: what is thresholded
is how rare a value is, −log₁₀ of the benign share beyond it (:func:`nip_export.calibrate.fit_tail`), on the
rarer side. The margin is cut from below. Thresholds are cut on benign images exactly as the defence's own
gate is. None of them knows another answer: flagged images are answered as they would be without.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nip_evaluate.baselines.held_out import Detector, Doubles, HeldOut, Rows, every_row, fixed
from nip_evaluate.baselines.network import Forward, Logits
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import Images, Labels
from nip_export.calibrate import fit_tail
from nip_export.defence.statistics import apply_curve

Score = Callable[[Logits], Doubles]
ENERGY, LARGEST, MARGIN = "energy", "largest logit", "smallest margin"


def energy(logits: Logits) -> Doubles:
    """−log Σ exp (N,) of logits (N, C)."""
    values = logits.astype(np.float64)
    highest = values.max(1)
    free: Doubles = -(highest + np.log(np.exp(values - highest[:, None]).sum(1)))
    return free


def largest_logit(logits: Logits) -> Doubles:
    """The largest (N,) of logits (N, C)."""
    highest: Doubles = logits.max(1).astype(np.float64)
    return highest


def margin(logits: Logits) -> Doubles:
    """Largest minus second largest (N,) of logits (N, C)."""
    ordered = np.sort(logits.astype(np.float64), axis=1)
    lead: Doubles = ordered[:, -1] - ordered[:, -2]
    return lead


def rarity(benign: Doubles) -> Callable[[Doubles], Doubles]:
    """How far out a value lies among benign ones, to either side: −log₁₀ of the benign share beyond it.

    Args:
        benign: (N,) values of benign images, N ≥ 2.
    """
    above, below = fit_tail(benign), fit_tail(-benign)

    def rare(values: Doubles) -> Doubles:
        largest: Doubles = np.maximum(apply_curve(above, values), apply_curve(below, -values))
        return largest

    return rare


def fit_energy(forward: Forward, images: Images, labels: Labels) -> Detector:
    """Energy, cut on both sides; arguments as :func:`fit_margin`'s."""
    return _two_sided(ENERGY, "Liu et al. 2020, −log Σ exp of the logits", energy, forward, images, labels)


def fit_largest(forward: Forward, images: Images, labels: Labels) -> Detector:
    """Largest logit, cut on both sides; arguments as :func:`fit_margin`'s."""
    return _two_sided(LARGEST, "Hendrycks et al. 2022", largest_logit, forward, images, labels)


def fit_margin(forward: Forward, images: Images, labels: Labels) -> Detector:
    """Smallest margin.

    Args:
        forward: the network.
        images: (N, *shape) float32 benign calibration images.
        labels: (N,) int64.

    Raises:
        ExportError: fewer than 50 images are labelled rightly.
    """
    logits = forward(images)
    predicted = _labels(logits)

    def view(attacked: Images) -> GateView:
        seen = forward(attacked)
        return every_row(-margin(seen), _labels(seen), _labels(seen))

    return Detector(
        name=MARGIN,
        description="largest minus second largest logit, flagged below a threshold; corrects nothing",
        passes=1,
        view=view,
        held_out=HeldOut.of(labels, predicted, fixed(-margin(logits), predicted)),
    )


def _two_sided(
    name: str, source: str, score: Score, forward: Forward, images: Images, labels: Labels
) -> Detector:
    logits = forward(images)
    values, predicted = score(logits), _labels(logits)

    def judge(rows: Rows) -> tuple[Doubles, Labels]:
        return rarity(values[rows])(values), predicted

    held_out = HeldOut.of(labels, predicted, judge)
    rare = rarity(values[held_out.correct])

    def view(attacked: Images) -> GateView:
        seen = forward(attacked)
        return every_row(rare(score(seen)), _labels(seen), _labels(seen))

    return Detector(
        name=name,
        description=f"{source}, flagged beyond thresholds on both sides; corrects nothing",
        passes=1,
        view=view,
        held_out=held_out,
    )


def _labels(logits: Logits) -> Labels:
    found: Labels = logits.argmax(1).astype(np.int64)
    return found
