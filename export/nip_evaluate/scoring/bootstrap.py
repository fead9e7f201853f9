"""The mean defence success rate of several attacks, with an interval by resampling images.

The same images are attacked again and again, so that an image hard to repair after one attack is hard after
the others too: resampling attacks or (attack, image) pairs on their own would promise too narrow an interval.
Images are the unit that is resampled, for all attacks and all compared defences at once.

Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13: percentile intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nip_evaluate.scoring.outcome import Flags
from nip_evaluate.terms.results import Estimate
from nip_runtime.file.rates import Rate

RESAMPLES: Final = 1000
_SEED: Final = 20_240_229
_BLOCK: Final = 4_000_000  # draws at a time: bounds the memory, whatever the number of images
_PERCENTILES: Final = (2.5, 97.5)
_ROUNDING: Final = 1e-12

Doubles = NDArray[np.float64]


def stack(rows: Sequence[Flags], images: int) -> Flags:
    """(A, N) bool from one row per attack, False for images that an attack was not run on."""
    stacked = np.zeros((len(rows), images), bool)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return stacked


@dataclass(frozen=True, eq=False)
class MeanDsr:
    """The mean over A attacks of repaired ÷ successful, at any number of defences.

    Attributes:
        successful: (A, N) bool, at least one per attack; False where an attack was not run.
        resamples: how often the N images are drawn anew; always the same draws for the same N.
    """

    successful: Flags
    resamples: int = RESAMPLES
    _weights: Doubles = field(init=False, repr=False)
    _counted: Doubles = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weights = draw_weights(self.successful.shape[1], self.resamples)
        object.__setattr__(self, "_weights", weights)
        object.__setattr__(self, "_counted", weights @ self.successful.T.astype(np.float64))

    def value(self, repaired: Flags) -> float:
        """The mean itself, of (A, N) bool repaired ⊆ successful."""
        return float(np.mean(repaired.sum(1) / self.successful.sum(1)))

    def resampled(self, repaired: Flags) -> Doubles:
        """The mean in every resample: (B,).

        An attack without any success in a resample does not count there; NaN if that befell all of them.
        """
        won = self._weights @ repaired.T.astype(np.float64)
        present = self._counted > 0
        ratios = np.divide(won, self._counted, out=np.zeros_like(won), where=present)
        attacks = present.sum(1)
        means: Doubles = np.full(len(ratios), np.nan)
        np.divide(ratios.sum(1), attacks, out=means, where=attacks > 0)
        return means

    def estimate(self, repaired: Flags) -> Estimate:
        """The mean with its interval, within [0, 1]."""
        return self.judge(self.value(repaired), self.resampled(repaired), lowest=0.0)

    def judge(self, value: float, resampled: Doubles, *, lowest: float) -> Estimate:
        """A value with the middle 95 % of its (B,) resamples, stretched to hold it, within [lowest, 1].

        Where no resample differs from another (nothing repaired, or everything), the bootstrap would claim
        certainty: the ends are then as far away as Wilson's is from 0 of as many images as were attacked
        successfully.
        """
        attacks = f"mean over {len(self.successful)} attack{'s' if len(self.successful) > 1 else ''}"
        known = resampled[~np.isnan(resampled)]
        if len(known) == 0 or np.ptp(known) < _ROUNDING:
            unseen = Rate(0, int(self.successful.any(0).sum())).interval[1]
            low, high = value - unseen, value + unseen
            method = f"{attacks}; the same in every resample: ± the end of Wilson's 95 % interval of none"
        else:
            low, high = (float(end) for end in np.percentile(known, _PERCENTILES))
            method = f"{attacks}; 95 % percentile bootstrap over images, {self.resamples} resamples"
        return Estimate(
            value,
            max(min(low, value), lowest),
            min(max(high, value), 1.0),
            self.successful.shape[1],
            method,
        )


def draw_weights(images: int, resamples: int) -> Doubles:
    """How often each image stands in each resample: (B, N), every row summing to N. Same draws every time."""
    rng = np.random.default_rng(_SEED)
    weights = np.empty((resamples, images))
    step = max(_BLOCK // images, 1)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * images)
        weights[start : start + rows] = counts.reshape(rows, images)
    return weights
