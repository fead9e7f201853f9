"""What stands for an array (N, *item) of which rows are made only when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rowwise(ABC):
    """Shape and conversion of such an array.

    Attributes:
        rows: (N,) int64: which rows of all, in which order.
        item: shape of one.
    """

    rows: NDArray[np.int64]
    item: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *item)."""
        return (len(self.rows), *self.item)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    @abstractmethod
    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """Make the chosen rows: (n, *item) for what numpy takes as an index of the first axis."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = self[:]
        return values if dtype is None else values.astype(dtype)
