"""Read-outs: what a layer's pooled activation says about the class, as a linear discriminant.

Classes are Gaussians with means of their own and one shared covariance; in the space whitened by it the
discriminant of class c is −½‖a − μ_c‖², of which only the part linear in a differs between classes
(Fisher 1936; the shared covariance is shrunk towards a multiple of the identity).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHRINKAGE = 0.1
TEMPERATURES = np.geomspace(1e-3, 10, 81)


@dataclass(frozen=True, eq=False)
class LinearReadOut:
    """Discriminants a @ weight + bias: weight (D, C), bias (C,), float64."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def __call__(self, pooled: NDArray[np.floating]) -> NDArray[np.float64]:
        """Discriminants (N, C) of pooled activations (N, D)."""
        scores: NDArray[np.float64] = pooled.astype(np.float64) @ self.weight + self.bias
        return scores


def fit_readout(
    pooled: NDArray[np.floating], labels: NDArray[np.int64], *, classes: int, shrinkage: float = SHRINKAGE
) -> LinearReadOut:
    """Fit class means and the shared covariance to pooled activations.

    Args:
        pooled: (N, D).
        labels: (N,) int64. A class without rows gets a bias of −∞'s stand-in, far below every other.
        classes: C.
        shrinkage: weight of the identity (times the mean variance) in the covariance, in [0, 1].
    """
    values = pooled.astype(np.float64)
    counts = np.bincount(labels, minlength=classes)
    means = np.zeros((classes, values.shape[1]))
    np.add.at(means, labels, values)
    means /= np.maximum(counts, 1)[:, None]
    residuals = values - means[labels]
    covariance: NDArray[np.float64] = residuals.T @ residuals / len(values)
    spread = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    covariance = (1 - shrinkage) * covariance + shrinkage * spread * np.eye(len(covariance))
    weight = np.asarray(np.linalg.solve(covariance, means.T), np.float64)
    bias = -0.5 * np.einsum("cd,dc->c", means, weight)
    if (counts == 0).any():
        scores = values @ weight[:, counts > 0] + bias[counts > 0]
        weight[:, counts == 0] = 0
        bias[counts == 0] = scores.min() - 1e3
    return LinearReadOut(weight, bias)


def fit_temperature(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The factor on discriminants (N, C) that makes their softmax most likely on held-out benign labels.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, on a grid of factors.
    """

    def loss(factor: float) -> float:
        scaled = factor * (scores - scores.max(1, keepdims=True))
        chosen = np.take_along_axis(scaled, labels[:, None], axis=1)[:, 0]
        return float((np.log(np.exp(scaled).sum(1)) - chosen).mean())

    return float(min(TEMPERATURES, key=loss))
