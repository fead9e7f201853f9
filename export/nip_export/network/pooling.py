"""From an activation of any rank to one vector per sample: means over a coarse grid."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_runtime.errors import ExportError


class TapKind(StrEnum):
    """How the axes of an activation are to be read."""

    MAP2D = "map2d"
    """Feature maps (N, C, H, W)."""
    MAP2D_LAST = "map2d_last"
    """Feature maps with their channels last (N, H, W, C)."""
    MAP1D = "map1d"
    """Feature sequences (N, C, T) of one-dimensional convolutions."""
    TOKENS = "tokens"
    """Token sequences (N, T, D) of transformers."""
    VECTOR = "vector"
    """Vectors (N, D)."""


RANK = {TapKind.MAP2D: 4, TapKind.MAP2D_LAST: 4, TapKind.MAP1D: 3, TapKind.TOKENS: 3, TapKind.VECTOR: 2}


def cell_bounds(length: int, cells: int) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of the grid cells along an axis: [floor(i·L/cells), ceil((i+1)·L/cells)).

    The definition of `torch.nn.AdaptiveAvgPool2d`: nothing is cropped, and neighbours share one row where
    `length` is not divisible.

    Raises:
        ExportError: `cells` is below 1 or above `length`.
    """
    if not 1 <= cells <= length:
        raise ExportError(f"expected 1 to {length} cells along an axis of length {length}, got {cells}")
    return tuple((i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells))


def pooled_width(kind: TapKind, shape: tuple[int, ...], *, cells: int) -> int:
    """Length D of the pooled vector of an activation whose per-sample shape is `shape`."""
    match kind:
        case TapKind.MAP2D:
            return shape[0] * cells * cells
        case TapKind.MAP2D_LAST:
            return shape[2] * cells * cells
        case TapKind.MAP1D:
            return shape[0] * cells
        case TapKind.TOKENS:
            return shape[1]
        case TapKind.VECTOR:
            return shape[0]


def check_rank(rank: int, kind: TapKind) -> None:
    """Refuse an activation whose number of axes does not fit its kind."""
    if rank != RANK[kind]:
        raise ExportError(f"expected {RANK[kind]} axes in an activation of kind {kind.value!r}, got {rank}")


def pool_activation(activation: Tensor, *, kind: TapKind, cells: int = 1) -> Tensor:
    """Average an activation over a grid, differentiably.

    Args:
        activation: (N, C, H, W), (N, H, W, C), (N, C, T), (N, T, D) or (N, D) according to `kind`.
        kind: how to read the axes.
        cells: grid cells per spatial axis of a map; tokens and vectors do not use it.

    Returns:
        (N, D): maps give D = C·cells² (or C·cells), ordered channel, row, column; tokens give the mean
        over tokens; vectors come back unchanged.

    Raises:
        ExportError: wrong number of axes for `kind`, or more cells than rows or columns.
    """
    check_rank(activation.ndim, kind)
    match kind:
        case TapKind.MAP2D:
            rows, columns = (cell_bounds(length, cells) for length in activation.shape[2:])
            pooled = [activation[:, :, a:b, c:d].mean((2, 3)) for a, b in rows for c, d in columns]
            return torch.stack(pooled, 2).flatten(1)
        case TapKind.MAP2D_LAST:
            return pool_activation(activation.permute(0, 3, 1, 2), kind=TapKind.MAP2D, cells=cells)
        case TapKind.MAP1D:
            pooled = [activation[:, :, a:b].mean(2) for a, b in cell_bounds(activation.shape[2], cells)]
            return torch.stack(pooled, 2).flatten(1)
        case TapKind.TOKENS:
            return activation.mean(1)
        case TapKind.VECTOR:
            return activation


def pool_activation_numpy(
    activation: NDArray[np.floating], *, kind: TapKind, cells: int = 1
) -> NDArray[np.floating]:
    """`pool_activation` in numpy, for oracles: the same arguments, result and errors."""
    check_rank(activation.ndim, kind)
    match kind:
        case TapKind.MAP2D:
            rows, columns = (cell_bounds(length, cells) for length in activation.shape[2:])
            pooled = [activation[:, :, a:b, c:d].mean((2, 3)) for a, b in rows for c, d in columns]
            return np.stack(pooled, 2).reshape(len(activation), -1)
        case TapKind.MAP2D_LAST:
            return pool_activation_numpy(activation.transpose(0, 3, 1, 2), kind=TapKind.MAP2D, cells=cells)
        case TapKind.MAP1D:
            pooled = [activation[:, :, a:b].mean(2) for a, b in cell_bounds(activation.shape[2], cells)]
            return np.stack(pooled, 2).reshape(len(activation), -1)
        case TapKind.TOKENS:
            mean: NDArray[np.floating] = activation.mean(1)
            return mean
        case TapKind.VECTOR:
            return activation
