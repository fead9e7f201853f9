"""The defence's statistics, written out in numpy from their definitions.

Calibration measures with them, and the oracle that every exported file is compared with is made of them.
All take and return float64; N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nip_export.defence.spec import ClassScale, Curve, ReadOut, Typicality

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]


LEAST_CHANGE = 2.0**-10
"""Smaller changes of the class probabilities count as this one: where a softmax is saturated they are
rounding, which standardising would magnify. A power of two, so that float32 has it exactly."""


def log_softmax(values: NDArray[np.floating]) -> Doubles:
    """Log-probabilities over the last axis."""
    shifted = values.astype(np.float64) - values.max(-1, keepdims=True)
    normalised: Doubles = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return normalised


def evidence(readouts: Sequence[ReadOut], pooled: Mapping[str, NDArray[np.floating]]) -> Doubles:
    """Early evidence (N, C): mean over one or more read-outs of their log-probabilities."""
    opinions = [
        log_softmax(pooled[r.tap].astype(np.float64) @ r.weight.astype(np.float64) + r.bias) for r in readouts
    ]
    mean: Doubles = np.mean(opinions, axis=0)
    return mean


def largest_term(readouts: Sequence[ReadOut], pooled: Mapping[str, NDArray[np.floating]]) -> float:
    """The largest sum of sizes that early evidence is a sum of: what its rounding is a share of.

    Large weights on small activations cancel, so the evidence itself may be much smaller.
    """
    sums = [np.abs(pooled[r.tap]) @ np.abs(r.weight) + np.abs(r.bias) for r in readouts]
    return max((float(total.max()) for total in sums), default=0.0)


def distances(typicality: Typicality, pooled: NDArray[np.floating]) -> Doubles:
    """Whitened distances (N, K) of pooled features (N, D) to every centre."""
    whitened = pooled.astype(np.float64) @ typicality.weight.astype(np.float64) + typicality.bias
    centres = typicality.centres.astype(np.float64)
    squares = np.square(whitened).sum(1, keepdims=True) - 2 * whitened @ centres.T
    lengths: Doubles = np.sqrt(np.maximum(squares + np.square(centres).sum(1), 0))
    return lengths


def change(raw: NDArray[np.floating], second: NDArray[np.floating]) -> Doubles:
    """How far class probabilities move between the passes: (N, 1), their L1 distance, 0 to 2.

    Source: Xu et al., "Feature Squeezing", NDSS 2018, which thresholds it as it is; here it is standardised.
    """
    moved = np.abs(np.exp(log_softmax(second)) - np.exp(log_softmax(raw))).sum(1, keepdims=True)
    enough: Doubles = np.maximum(moved, LEAST_CHANGE)
    return enough


def own(values: NDArray[np.floating], predicted: Labels) -> Doubles:
    """The predicted class's entry (N, 1) of (N, C) values."""
    return np.take_along_axis(values, predicted[:, None], axis=1).astype(np.float64)


def without(values: NDArray[np.floating], predicted: Labels) -> Doubles:
    """`values` (N, C) with the predicted class's entry at −∞."""
    others = values.astype(np.float64)
    np.put_along_axis(others, predicted[:, None], -np.inf, axis=1)
    return others


def disagreement(early: Doubles, predicted: Labels) -> Doubles:
    """How much more the early layers believe in another class than in the predicted one: (N, 1), in nats."""
    best: Doubles = without(early, predicted).max(1, keepdims=True) - own(early, predicted)
    return best


def shift(raw: NDArray[np.floating], perturbed: NDArray[np.floating], predicted: Labels) -> Doubles:
    """How far every logit moves towards the predicted class's in the second pass: (N, C)."""
    moved: Doubles = (perturbed - own(perturbed, predicted)) - (raw - own(raw, predicted))
    return moved


def standardise(values: Doubles, scale: ClassScale, predicted: Labels) -> Doubles:
    """(N, K) values in benign standard deviations from the benign mean of the predicted class."""
    rows = predicted if scale.per_class else np.zeros_like(predicted)
    scaled: Doubles = (values - scale.mean[rows]) * scale.inverse_std[rows]
    return scaled


def apply_curve(curve: Curve, values: Doubles) -> Doubles:
    """Evaluate a curve elementwise."""
    steps = np.minimum(np.maximum(values[..., None] - curve.knots, 0), curve.widths)
    result: Doubles = curve.base + steps @ curve.slopes.astype(np.float64)
    return result
