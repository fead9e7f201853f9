"""Fits what benign features look like: a whitened space and one centre per class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nip_export.defence.spec import Typicality
from nip_export.network import TapKind

MOST_DIRECTIONS = 64
"""Directions kept: those in which benign features vary most within their classes. On the networks it was
tried on, 32 see what 128 see; more would make the file larger."""
SHRINKAGE = 0.1
PSEUDO_ROWS = 2.0
"""Weight of the mean over all classes in a class's centre, in benign rows."""


def fit_typicality(
    features: NDArray[np.floating], labels: NDArray[np.int64], *, tap: str, kind: TapKind
) -> Typicality:
    """Fit centres and the covariance that all classes share.

    Args:
        features: (N, D) pooled features of rightly classified benign inputs, N ≥ 2.
        labels: (N,) int64.
        tap: name of their layer.
        kind: how its axes are to be read.
    """
    values = features.astype(np.float64)
    overall = values.mean(0)
    present, rows, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(present), values.shape[1]))
    np.add.at(sums, rows, values)
    # A class of one image has no scatter of its own: its centre leans on all classes.
    centres = (sums + PSEUDO_ROWS * overall) / (counts + PSEUDO_ROWS)[:, None]
    residuals = values - centres[rows]
    covariance = residuals.T @ residuals / len(values)
    _, directions = np.linalg.eigh(covariance)
    kept = directions[:, ::-1][:, :MOST_DIRECTIONS]
    inner = kept.T @ covariance @ kept
    spread = max(float(np.trace(inner)) / len(inner), 1e-12)
    inner = (1 - SHRINKAGE) * inner + SHRINKAGE * spread * np.eye(len(inner))
    variances, axes = np.linalg.eigh(inner)
    weight = kept @ (axes / np.sqrt(variances))
    return Typicality(
        tap=tap,
        kind=kind,
        weight=weight.astype(np.float32),
        bias=(-overall @ weight).astype(np.float32),
        centres=((centres - overall) @ weight).astype(np.float32),
    )
