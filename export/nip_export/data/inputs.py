"""Inputs of a model that are made batch by batch: from images on disk, or from other inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_export.data.rowwise import Rowwise

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LazyInputs(Rowwise):
    """(N, *shape) float32 of which only the rows that are asked for are ever in memory.

    Indexed by a slice, row numbers or a mask it gives an array, as an array would.

    Attributes:
        make: gives the float32 inputs of some row numbers.
        rows: (N,) int64: the row numbers.
        item: per-sample shape.
    """

    make: Callable[[NDArray[np.int64]], Floats]
    rows: NDArray[np.int64]
    item: tuple[int, ...]

    def __getitem__(self, chosen: Any) -> Floats:
        rows = self.rows[chosen]
        if len(rows) == 0:
            return np.empty((0, *self.item), np.float32)
        return self.make(rows)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> LazyInputs:
        """Some of them, still unmade."""
        return LazyInputs(self.make, self.rows[rows], self.item)


Inputs = Floats | LazyInputs
"""(N, *shape) float32, in memory or made when asked for."""


def take(inputs: Inputs, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Inputs:
    """Some inputs, unmade where they are."""
    return inputs.take(rows) if isinstance(inputs, LazyInputs) else inputs[rows]


def changed(
    inputs: Inputs,
    change: Callable[[Floats, NDArray[np.int64]], Floats],
    rows: NDArray[np.int64] | None = None,
) -> LazyInputs:
    """Inputs changed batch by batch: a view of them need not be in memory as a whole.

    Args:
        inputs: (N, *shape).
        change: gives the changed inputs of some of them and their row numbers in `inputs`; of the same shape.
        rows: which of them; None: all.
    """

    def make(chosen: NDArray[np.int64]) -> Floats:
        return change(inputs[chosen], chosen)

    numbers = np.arange(len(inputs)) if rows is None else rows
    return LazyInputs(make, numbers, tuple(inputs.shape[1:]))
