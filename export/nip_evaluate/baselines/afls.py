"""AFLS-AED's two tests: recovery of earlier layers, and the answer's stability under masks.

Source: Yun, Masukawa, Oh, Bastian and Imani, "A Few Large Shifts: Layer-Inconsistency Based Minimal Overhead
Adversarial Example Detection", arXiv 2505.12586. Its assumption: an attack shifts a few layers by much, so
that layers no longer fit each other. This is our own code, reconstructed from the paper's abstract and from
what the authors' public code (github.com/c0510gy/AFLS-AED) computes; the paper's text was not at hand.

As there:

- **Recovery (RT)**: one regressor per earlier layer estimates that layer's activation, averaged over
  positions, from the deepest layer's. eₗ is the squared distance of estimate and layer; the statistic is
  (log M − H(softmax(e))) · log(mean e) over M layers, H the entropy: how far errors are concentrated.
- **Logit layer (LT)**: the image is multiplied by learned masks near 1. The statistic is the mean over masks
  and layers of log(‖softmax(masked) − onehot(answer)‖² / C · entropy of the answer) − log(mean squared
  shift of the layer): how much the answer moves for what the layers move. Masks are learned to make it
  small on benign images.
- Either statistic is mapped by its benign quantiles to a standard normal z; z² is thresholded, so that both
  ends count. **RLT** is the sum of both z².
- Sizes: regressors of 4 linear layers of width 128 with batch normalisation, 4 masks, AdamW.

Otherwise here:

- Layers are the steps of the network's trunk (stages, or the blocks within where stages are few), at most 16
  of them, evenly spread, and the features as the deepest; the public code lists every block by hand.
- Regressors and masks learn from the profile images (some thousands, not the training set of 50,000), in
  fewer and larger steps; inputs and targets of regressors are standardised for training alone. Masks start a
  little off 1: the public code starts all at 1, where they are, and stay, the same mask.
- eₗ is divided by its mean over profile images that the regressors did not learn from: a softmax of squared
  activations depends on their unit, and with the small ones of small networks it is flat. On the network
  tried, this raises what the test sees (AUC 0.77 to 0.86 under PGD).
- Of z = ±5.2, where the public code's quantile transformation ends, ours goes on straight by the benign
  deviation: otherwise all that lies beyond the benign images would tie, and no threshold could part it.
- The public code takes, over epochs, the best AUC on attacks; here no attack is looked at, and what is
  trained is used.
- The threshold is cut on benign calibration images exactly as the defence's own gate is.

It detects only: flagged images are answered as they would be without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from nip_evaluate.baselines.afls_parts import (
    LEAST,
    MASKS,
    Regressors,
    inconsistency,
    train_masks,
    train_regressors,
)
from nip_evaluate.baselines.held_out import Detector, Doubles, HeldOut, Rows, every_row
from nip_evaluate.baselines.memory import Memory
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import Images, Labels
from nip_export.fit.bench import Bench
from nip_export.network import Tap
from nip_export.network.run import Floats, Passed, TapCells, run_network
from nip_export.network.tapped import TappedNetwork
from nip_export.network.taps import deep_taps
from nip_export.support.progress import Progress, silent
from nip_runtime.errors import ExportError

MOST_LAYERS = 16
RT, LT, RLT = "AFLS-AED, RT", "AFLS-AED, LT", "AFLS-AED, RT and LT"
PASSES = {RT: 1, LT: 1 + MASKS, RLT: 1 + MASKS}
WHAT = {
    RT: "how well earlier layers follow from the deepest",
    LT: f"how much answer and layers move under {MASKS} learned masks",
    RLT: "both tests, z² summed",
}


@dataclass(frozen=True, eq=False)
class Afls:
    """The parts that were learned from benign images, and what they say of others.

    Attributes:
        bench: the profile and calibration images.
        network: tapped at more layers than the bench's own.
        grids: these layers averaged over positions, the deepest last.
        regressors: of the recovery test.
        usual: (M,) mean errors of the regressors on benign images.
        masks: (MASKS, *shape) float32.
    """

    bench: Bench
    network: TappedNetwork = field(repr=False)
    grids: tuple[TapCells, ...]
    regressors: Regressors = field(repr=False)
    usual: Doubles = field(repr=False)
    masks: Images = field(repr=False)
    _memory: Memory = field(default_factory=Memory, repr=False)

    def recovery(self, images: Images) -> tuple[Labels, Doubles]:
        """The network's labels and the recovery statistic (N,) of images (N, *shape) float32."""
        return self._memory.recall("recovery", images, lambda: self._recovery(images))

    def logit_layer(self, images: Images) -> Doubles:
        """The logit-layer statistic (N,) of images (N, *shape) float32."""
        return self._memory.recall("logit layer", images, lambda: self._logit_layer(images))

    def statistics(self, images: Images, name: str) -> tuple[Labels, list[Doubles]]:
        """The network's labels (N,), and what the detector of this name looks at."""
        labels, recovery = self.recovery(images)
        if name == RT:
            return labels, [recovery]
        return labels, [self.logit_layer(images)] if name == LT else [recovery, self.logit_layer(images)]

    def _pass(self, images: Images) -> Passed:
        return _run(self.bench, self.network, self.grids, images)

    def _recovery(self, images: Images) -> tuple[Labels, Doubles]:
        passed = self._pass(images)
        errors = self.regressors.errors(*_layers(passed, self.grids))
        return passed.logits.argmax(1).astype(np.int64), concentration(errors / self.usual)

    def _logit_layer(self, images: Images) -> Doubles:
        before = _tensors(self._pass(images), self.grids)
        found = []
        for mask in self.masks:  # one after the other: all at once would take as many times the memory
            after = _tensors(self._pass(images * mask), self.grids)
            found.append(inconsistency(before[0], before[1:], after[0], after[1:]).numpy())
        mean: Doubles = np.mean(found, axis=0).astype(np.float64)
        return mean


def concentration(errors: Doubles) -> Doubles:
    """(log M − H(softmax(e))) · log(mean e) of errors (N, M): (N,)."""
    shifted = errors - errors.max(1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    entropy = -(np.exp(log_shares) * log_shares).sum(1)
    found: Doubles = (np.log(errors.shape[1]) - entropy) * np.log(errors.mean(1) + LEAST)
    return found


def to_normal(benign: Doubles) -> Callable[[Doubles], Doubles]:
    """A rising map of values to z-scores, by the quantiles of benign ones (N,), N ≥ 2; straight on behind."""
    knots, counts = np.unique(benign, return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / len(benign)
    scores = np.array([NormalDist().inv_cdf(float(share)) for share in shares])
    deviation = max(float(benign.std()), 1e-12)

    def score(values: Doubles) -> Doubles:
        beyond = (values - np.clip(values, knots[0], knots[-1])) / deviation
        found: Doubles = np.interp(values, knots, scores) + beyond
        return found

    return score


def learn(bench: Bench, *, seed: int = 0, progress: Progress = silent) -> Afls:
    """Learn regressors and masks from the profile images.

    Raises:
        ExportError: the network has fewer than two steps before its features: errors cannot be concentrated.
    """
    network, grids = tapped_at(bench, trunk_layers(bench))
    images = bench.profile.inputs
    deepest, earlier = _layers(_run(bench, network, grids, images), grids)
    learnt, kept = np.split(np.random.default_rng(seed).permutation(len(images)), [len(images) * 4 // 5])
    regressors = train_regressors(
        deepest[learnt],
        [values[learnt] for values in earlier],
        seed=seed,
        device=bench.device,
        progress=progress,
    )
    usual = regressors.errors(deepest[kept], [values[kept] for values in earlier]).mean(0)
    masks = train_masks(network, grids, images, seed=seed, device=bench.device, progress=progress)
    return Afls(bench, network, grids, regressors, np.maximum(usual, LEAST), masks)


def trunk_layers(bench: Bench) -> list[Tap]:
    """Steps of the network's trunk, the features last.

    Raises:
        ExportError: fewer than two of them come before the features.
    """
    taps = deep_taps(
        bench.network.model,
        bench.network.normalise(bench.example),
        features=bench.plan.features,
        wanted=MOST_LAYERS,
    )
    if len(taps) < 3:
        raise ExportError(
            f"AFLS-AED: expected at least two layers before the features, got {len(taps) - 1}; leave it out"
        )
    return taps


def tapped_at(bench: Bench, taps: Sequence[Tap]) -> tuple[TappedNetwork, tuple[TapCells, ...]]:
    """The network of the bench with other taps, averaged over positions."""
    mean, std = (getattr(bench.network, name) for name in ("mean", "std"))
    network = TappedNetwork(bench.network.model, [tap.name for tap in taps], mean=mean, std=std)
    return network.eval(), tuple(TapCells(tap, 1) for tap in taps)


def fit_afls(afls: Afls, name: str) -> Detector:
    """One of the detectors, its quantiles and its threshold from the calibration images.

    Args:
        afls: the parts that were learned.
        name: :data:`RT`, :data:`LT` or :data:`RLT`.

    Raises:
        ExportError: fewer than 50 calibration images are labelled rightly.
    """
    benign = afls.bench.calibration
    predicted, statistics = afls.statistics(benign.inputs, name)

    def fit(rows: Rows) -> Callable[[Sequence[Doubles]], Doubles]:
        maps = [to_normal(values[rows]) for values in statistics]

        def score(values: Sequence[Doubles]) -> Doubles:
            squares = [np.square(to_z(each)) for to_z, each in zip(maps, values, strict=True)]
            total: Doubles = np.sum(squares, axis=0)
            return total

        return score

    held_out = HeldOut.of(benign.labels, predicted, lambda rows: (fit(rows)(statistics), predicted))
    score = fit(held_out.correct)

    def view(images: Images) -> GateView:
        labels, found = afls.statistics(images, name)
        return every_row(score(found), labels, labels)

    return Detector(
        name=name,
        description=f"Yun et al. 2025, reconstructed from the public code, {len(afls.grids)} layers: "
        f"{WHAT[name]}; detects only",
        passes=PASSES[name],
        view=view,
        held_out=held_out,
    )


def _tensors(passed: Passed, grids: Sequence[TapCells]) -> list[Tensor]:
    """Logits, then every layer."""
    return [torch.from_numpy(passed.logits), *(torch.from_numpy(passed.pooled[g.tap.name]) for g in grids)]


def _run(bench: Bench, network: TappedNetwork, grids: Sequence[TapCells], images: Images) -> Passed:
    return run_network(network, images, grids, batch_size=bench.config.batch_size, device=bench.device)


def _layers(passed: Passed, grids: Sequence[TapCells]) -> tuple[Floats, list[Floats]]:
    """The deepest layer, and the earlier ones."""
    *earlier, deepest = (passed.pooled[grid.tap.name] for grid in grids)
    return deepest, earlier
