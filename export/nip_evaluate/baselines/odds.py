"""The noise odds test: how another class's odds change when noise is added to the input.

Source: Roth, Kilcher and Hofmann, "The Odds are Odd", ICML 2019. No library ships it; this is ours:

- g_{y,z}(x) = mean over N noise patterns n of [(l_z − l_y)(x + n) − (l_z − l_y)(x)], for the predicted class
  y, every other class z and logits l: how far z gains on y. Noise is Gaussian, and not clipped.
- ḡ_{y,z} is g_{y,z} standardised by its mean and deviation over benign inputs predicted as y (shrunk towards
  what all classes share, as everywhere in this package). The deviation is that of the mean over the N
  patterns, so that N is accounted for.
- An input is flagged if max over z of ḡ_{y,z} exceeds one threshold, cut on benign inputs exactly as the
  defence's own gate is. The paper has a threshold per pair of classes, which a few hundred images per class
  cannot set at a share of a percent.
- A flagged input is answered with the class z of the largest ḡ_{y,z}, the paper's correction; its variant
  with a trained classifier on top is left out, since that one is trained on adversarial inputs.
- The N patterns are drawn once, from a seed, and shared by all rows: a row's answer depends on nothing else
  in its batch.
- σ is the largest of a grid up to which the network's accuracy on benign inputs under noise stays within one
  point of that without. No adversarial input is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nip_evaluate.baselines.held_out import Detector, Doubles, HeldOut, Rows, every_row
from nip_evaluate.baselines.network import Forward, Logits
from nip_evaluate.baselines.noise import choose_sigma, noise_patterns
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import Images, Labels
from nip_export.calibrate.scales import fit_scale
from nip_export.defence import statistics
from nip_export.defence.spec import ClassScale
from nip_export.support.progress import Advance, Progress, silent


def odds_shift(
    forward: Forward, images: Images, raw: Logits, noise: NDArray[np.float32], advance: Advance | None = None
) -> Doubles:
    """g of every class (N, C) for the predicted class, 0 at that class itself.

    Args:
        forward: the network.
        images: (N, *shape) float32.
        raw: logits (N, C) without noise.
        noise: patterns (samples, *shape) float32, in input units.
        advance: called with 1 after every pattern.
    """
    total = np.zeros(raw.shape)
    for pattern in noise:  # one after the other: all at once would take samples times the memory
        total += forward(images + pattern)
        if advance is not None:
            advance(1)
    return statistics.shift(raw.astype(np.float64), total / len(noise), raw.argmax(1))


def odds_scores(shifts: Doubles, predicted: Labels, scale: ClassScale) -> tuple[Doubles, Labels]:
    """The largest standardised shift (N,) and the class (N,) that it belongs to."""
    others = statistics.without(statistics.standardise(shifts, scale, predicted), predicted)
    return others.max(1), others.argmax(1).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class OddsTest(Detector):
    """The test fitted to benign images, ready for any budget.

    Attributes:
        noise: patterns (samples, *shape) float32, in input units.
        sigma: their standard deviation.
        scale: benign mean and deviation of g per predicted class.
    """

    noise: NDArray[np.float32] = field(repr=False)
    sigma: float
    scale: ClassScale = field(repr=False)


def odds_name(samples: int) -> str:
    """The test's name with so many noise samples."""
    return f"noise odds, {samples} sample{'s' if samples > 1 else ''}"


def fit_odds(
    forward: Forward,
    images: Images,
    labels: Labels,
    *,
    samples: int,
    seed: int = 0,
    sigma: float | None = None,
    progress: Progress = silent,
) -> OddsTest:
    """Fit the test to benign calibration images.

    Args:
        forward: the network.
        images: (N, *shape) float32 in [0, 1].
        labels: (N,) int64.
        samples: noise patterns: the test takes one pass for each besides the first.
        seed: of patterns and folds.
        sigma: deviation of the noise in input units; None: chosen on the images.
        progress: told of every pattern.

    Raises:
        ExportError: fewer than 50 images are labelled rightly.
    """
    raw = forward(images)
    predicted = raw.argmax(1).astype(np.int64)
    patterns = noise_patterns(samples, images.shape[1:], seed)
    if sigma is None:
        sigma = choose_sigma(forward, images, labels, seed)
    noise = np.float32(sigma) * patterns
    shifts = odds_shift(forward, images, raw, noise, progress("Noise odds test", samples))

    def fit(rows: Rows) -> ClassScale:
        return fit_scale(shifts[rows], predicted[rows], classes=raw.shape[1])

    held_out = HeldOut.of(
        labels, predicted, lambda rows: odds_scores(shifts, predicted, fit(rows)), seed=seed
    )
    scale = fit(held_out.correct)

    def view(attacked: Images) -> GateView:
        logits = forward(attacked)
        told = logits.argmax(1).astype(np.int64)
        score, corrected = odds_scores(odds_shift(forward, attacked, logits, noise), told, scale)
        return every_row(score, told, corrected)

    return OddsTest(
        name=odds_name(samples),
        description=f"Roth et al. 2019, Gaussian noise of σ = {sigma * 255:g}/255 chosen on benign images; "
        "every image takes all passes",
        passes=1 + samples,
        view=view,
        held_out=held_out,
        noise=noise,
        sigma=sigma,
        scale=scale,
    )
