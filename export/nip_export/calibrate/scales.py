"""Benign mean and spread of a statistic, for each predicted class, shrunk towards what all classes share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nip_export.defence.spec import ClassScale

PSEUDO_ROWS = 20.0
"""Weight of the shared statistics, in benign rows: classes with few rows lean on all the others."""
MOST_CLASSES = 100
"""Above this, classes share one row of (C,) values: a (C, C) table would be large and hardly any of it
measured. A single value per class is no table, and stays each class's own."""
LEAST_DEVIATION = 1e-6


def fit_scale(values: NDArray[np.float64], predicted: NDArray[np.int64], *, classes: int) -> ClassScale:
    """Fit means and standard deviations to a benign statistic.

    Args:
        values: (N, K), N ≥ 1.
        predicted: (N,) int64, the predicted classes.
        classes: C.
    """
    shared_mean, shared_variance = values.mean(0), values.var(0)
    if classes > MOST_CLASSES and values.shape[1] > 1:
        means, variances = shared_mean[None], shared_variance[None]
    else:
        means = np.empty((classes, values.shape[1]))
        variances = np.empty_like(means)
        for label in range(classes):
            rows = values[predicted == label]
            weight = len(rows) + PSEUDO_ROWS
            means[label] = (rows.sum(0) + PSEUDO_ROWS * shared_mean) / weight
            squares = ((rows - rows.mean(0)) ** 2).sum(0) if len(rows) else 0.0
            variances[label] = (squares + PSEUDO_ROWS * shared_variance) / weight
    deviation = np.maximum(np.sqrt(variances), LEAST_DEVIATION)
    return ClassScale(means.astype(np.float32), (1 / deviation).astype(np.float32))


def with_rows(scale: ClassScale, other: ClassScale, rows: NDArray[np.bool_]) -> ClassScale:
    """A scale with some classes' statistics taken from another one.

    Args:
        scale: per class.
        other: per class or shared.
        rows: (C,) bool: classes whose statistics come from `other`.
    """
    chosen = rows[:, None]
    return ClassScale(
        np.where(chosen, other.mean, scale.mean).astype(np.float32),
        np.where(chosen, other.inverse_std, scale.inverse_std).astype(np.float32),
    )


def silent(classes: int) -> ClassScale:
    """A scale that makes 0 of every value (N, 1): where nothing is known, nothing is said."""
    return ClassScale(np.zeros((classes, 1), np.float32), np.zeros((classes, 1), np.float32))
