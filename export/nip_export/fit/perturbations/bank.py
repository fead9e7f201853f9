"""How inverse perturbations are stored: int8, and for large images on a coarser grid."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_export.defence.spec import MOST_STEPS, Bank
from nip_runtime.errors import ExportError

LARGEST_GRID = 64
"""Stored rows and columns: 1000 classes at 224² in RGB take 9.4 MB on the 56² grid that this gives."""


def coarse_factor(shape: tuple[int, ...]) -> int:
    """How many input rows and columns one stored value covers; 1 for inputs that are not (C, H, W)."""
    return -(-max(shape[-2:]) // LARGEST_GRID) if len(shape) == 3 else 1


def coarse_shape(shape: tuple[int, ...], factor: int | None = None) -> tuple[int, ...]:
    """Per-sample shape of the stored grid.

    Args:
        shape: per-sample shape of the input.
        factor: input rows and columns per stored value; None: what :func:`coarse_factor` says.

    Raises:
        ExportError: a factor below 1, or above 1 for inputs that are not (C, H, W).
    """
    if factor is None:
        factor = coarse_factor(shape)
    elif factor < 1 or (factor > 1 and len(shape) != 3):
        raise ExportError(
            f"factor: expected 1, or a whole number above it for inputs (C, H, W), got {factor} for {shape}"
        )
    if factor == 1:
        return shape
    return (*shape[:-2], *(-(-length // factor) for length in shape[-2:]))


def refine(coarse: Tensor, shape: tuple[int, ...], factor: int | None = None) -> Tensor:
    """Spread stored values (rows, *coarse) over the input's grid: (rows, *shape), differentiably."""
    factor = coarse_factor(shape) if factor is None else factor
    if factor == 1:
        return coarse
    fine = coarse.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return fine[..., : shape[-2], : shape[-1]]


def quantise(
    coarse: NDArray[np.floating] | Tensor, *, eps: float, shape: tuple[int, ...], factor: int | None = None
) -> Bank:
    """Round perturbations within ±`eps` to 127 steps either way; at most ε/254 is lost.

    Args:
        coarse: (rows, *coarse_shape(shape, factor)).
        eps: bound on every element, in input units.
        shape: per-sample shape of the input.
        factor: input rows and columns per stored value; None: what :func:`coarse_factor` says.

    Raises:
        ExportError: the perturbations are not on that grid.
    """
    values = coarse.detach().cpu().numpy() if isinstance(coarse, torch.Tensor) else coarse
    grid = coarse_shape(shape, factor)
    if values.shape[1:] != grid:
        raise ExportError(f"expected perturbations (rows, *{grid}) for inputs {shape}, got {values.shape}")
    steps = np.rint(values.astype(np.float64) / eps * MOST_STEPS)
    steps = np.clip(steps, -MOST_STEPS, MOST_STEPS).astype(np.int8)
    return Bank(
        steps=steps,
        step_size=eps / MOST_STEPS,
        factor=coarse_factor(shape) if factor is None else factor,
        shape=shape,
    )
