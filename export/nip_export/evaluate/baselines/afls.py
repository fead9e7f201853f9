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

- Layers are those that this package taps (a handful, the features last), not every block.
- Regressors and masks learn from the profile images (some thousands, not the training set of 50,000), in
  fewer and larger steps; inputs and targets of regressors are standardised for training alone. Masks start a
  little off 1: the public code starts all at 1, where they are, and stay, the same mask.
- Of z = ±5.2, where the public code's quantile transformation ends, ours goes on straight by the benign
  deviation: otherwise all that lies beyond the benign images would tie, and no threshold could part it.
- The public code takes, over epochs, the best AUC on attacks; here no attack is looked at, and what is
  trained is used.
- The threshold is cut on benign calibration images exactly as the defence's own gate is.

It detects only: flagged images are answered as they would be without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist

import numpy as np
import torch

from nip_export.bench import Bench
from nip_export.evaluate.answers import GateView
from nip_export.evaluate.baselines.afls_parts import (
    LEAST,
    MASKS,
    Regressors,
    inconsistency,
    train_masks,
    train_regressors,
)
from nip_export.evaluate.baselines.held_out import Detector, Doubles, HeldOut, Rows, every_row
from nip_export.evaluate.memory import Memory
from nip_export.evaluate.threats import Images, Labels
from nip_export.network import Passed, TapCells, run_network
from nip_export.progress import Progress, silent
from nip_runtime.errors import ExportError

RT, LT, RLT = "AFLS-AED, RT", "AFLS-AED, LT", "AFLS-AED, RT and LT"
PASSES = {RT: 1, LT: 1 + MASKS, RLT: 1 + MASKS}


@dataclass(frozen=True, eq=False)
class Afls:
    """The parts that were learned from benign images, and what they say of others.

    Attributes:
        bench: the network, with its profile and calibration images.
        grids: its tapped layers averaged over positions, the deepest last.
        regressors: of the recovery test.
        masks: (MASKS, *shape) float32.
    """

    bench: Bench
    grids: tuple[TapCells, ...]
    regressors: Regressors = field(repr=False)
    masks: Images = field(repr=False)
    _memory: Memory = field(default_factory=Memory, repr=False)

    def labels(self, images: Images) -> Labels:
        """The network's (N,)."""
        found: Labels = self._pass(images).logits.argmax(1).astype(np.int64)
        return found

    def recovery(self, images: Images) -> Doubles:
        """The recovery statistic (N,) of images (N, *shape) float32."""
        return self._memory.recall("recovery", images, lambda: self._recovery(images))

    def logit_layer(self, images: Images) -> Doubles:
        """The logit-layer statistic (N,) of images (N, *shape) float32."""
        return self._memory.recall("logit layer", images, lambda: self._logit_layer(images))

    def _pass(self, images: Images) -> Passed:
        return run_network(
            self.bench.network,
            images,
            self.grids,
            batch_size=self.bench.config.batch_size,
            device=self.bench.device,
        )

    def _recovery(self, images: Images) -> Doubles:
        passed = self._pass(images)
        *earlier, deepest = (passed.pooled[grid.tap.name] for grid in self.grids)
        return concentration(self.regressors.errors(deepest, earlier))

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
    """A rising map of values to z-scores, by the quantiles of benign ones (N,), N ≥ 2; straight beyond them."""
    values, first, counts = np.unique(benign, return_index=False, return_inverse=False, return_counts=True), 0, 0
    raise NotImplementedError(values, first, counts)
