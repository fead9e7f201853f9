"""How inverse perturbations are stored: int8, and for large images on a coarser grid."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_export.spec import Bank

LARGEST_GRID = 64
"""Stored rows and columns: 1000 classes at 224² in RGB take 9.4 MB on the 56² grid that this gives."""
STEPS = 127


def coarse_factor(shape: tuple[int, ...]) -> int:
    """How many input rows and columns one stored value covers; 1 for inputs that are not (C, H, W)."""
    return -(-max(shape[-2:]) // LARGEST_GRID) if len(shape) == 3 else 1


def coarse_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Per-sample shape of the stored grid."""
    factor = coarse_factor(shape)
    if factor == 1:
        return shape
    return (*shape[:-2], *(-(-length // factor) for length in shape[-2:]))


def refine(coarse: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Spread stored values (rows, *coarse) over the input's grid: (rows, *shape), differentiably."""
    factor = coarse_factor(shape)
    if factor == 1:
        return coarse
    fine = coarse.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return fine[..., : shape[-2], : shape[-1]]


def quantise(coarse: NDArray[np.floating] | Tensor, *, eps: float, shape: tuple[int, ...]) -> Bank:
    """Round perturbations (rows, *coarse) within ±`eps` to 127 steps either way; at most ε/254 is lost."""
    values = coarse.detach().cpu().numpy() if isinstance(coarse, torch.Tensor) else coarse
    steps = np.clip(np.rint(values.astype(np.float64) / eps * STEPS), -STEPS, STEPS).astype(np.int8)
    return Bank(steps=steps, step_size=eps / STEPS, factor=coarse_factor(shape), shape=shape)
