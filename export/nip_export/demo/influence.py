"""What the attack and the inverse perturbation do to neurons: the quantities of the influence plot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


class Condition(StrEnum):
    """Which input the influence was measured on, in the order of events."""

    BENIGN = "benign"
    ATTACKED = "attacked"
    RESTORED = "attacked + inverse perturbation"


@dataclass(frozen=True)
class Mean:
    """A mean over images and the half-width of its 95 % interval (normal approximation)."""

    value: float
    half_width: float


@dataclass(frozen=True, kw_only=True, eq=False)
class InfluenceShift:
    """Influence on the true class of every neuron of one layer, per image and condition.

    Args:
        influence: one (n, D) float32 array per condition, the same images in the same rows.
        order: (n, D) neurons by falling influence in the profile of the image's class.
        top_k: size of the front and of the tail group.

    Raises:
        ValueError: shapes differ, a condition is missing, or front and tail would overlap.
    """

    influence: dict[Condition, FloatArray]
    order: IndexArray
    top_k: int

    def __post_init__(self) -> None:
        if set(self.influence) != set(Condition):
            raise ValueError(f"influence: expected every condition, got {sorted(self.influence)}")
        for condition, values in self.influence.items():
            if values.shape != self.order.shape:
                raise ValueError(f"influence[{condition}]: expected {self.order.shape}, got {values.shape}")
        if not 1 <= self.top_k <= self.neurons // 2:
            raise ValueError(f"top_k: expected 1 to {self.neurons // 2}, got {self.top_k}")

    @property
    def images(self) -> int:
        """Number of images n."""
        return len(self.order)

    @property
    def neurons(self) -> int:
        """Number of neurons D."""
        return int(self.order.shape[1])

    def by_rank(self) -> dict[Condition, FloatArray]:
        """Mean influence (D,) at every rank of the class profile."""
        return {
            condition: np.take_along_axis(self.influence[condition], self.order, axis=1).mean(axis=0)
            for condition in Condition
        }

    def by_group(self) -> dict[Condition, tuple[Mean, Mean, Mean]]:
        """Mean influence per neuron of the front, middle and tail group."""
        return {condition: self._groups(self.influence[condition]) for condition in Condition}

    def _groups(self, values: FloatArray) -> tuple[Mean, Mean, Mean]:
        ranked = np.take_along_axis(values, self.order, axis=1)
        front, middle, tail = np.split(ranked, [self.top_k, self.neurons - self.top_k], axis=1)
        return _mean(front), _mean(middle), _mean(tail)


def _mean(values: FloatArray) -> Mean:
    per_image = values.mean(axis=1) if values.shape[1] else np.zeros(len(values), np.float32)
    spread = float(per_image.std(ddof=1)) if len(per_image) > 1 else 0.0
    return Mean(float(per_image.mean()), 1.96 * spread / math.sqrt(len(per_image)))
