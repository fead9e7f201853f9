"""From a statistic to how rare it is among benign inputs, as curves a graph can evaluate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nip_export.defence.spec import Curve

TAIL_LEVELS = (0.9, 0.75, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.055, 0.04, 0.03, 0.02, 0.014, 0.01)
"""Benign shares beyond a knot."""
LEAST_BEYOND = 5
"""Benign inputs that must lie beyond the last knot: fewer say nothing about the tail."""
CLOSEST = 2.0**-12
"""Knots closer than this share of what they span are one: where many benign inputs have next to the same
value, as probabilities that turn over entirely all move by 2, a curve would tell rounding apart."""
SUSPICION_LEVELS = (*np.linspace(0, 0.9, 10), 0.95, 0.98, 0.99, 0.995, 1.0)


def rising(knots: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Merge knots that (in float32) do not rise, or next to not, keeping the last value of each."""
    least = CLOSEST * (knots[-1] - knots[0])
    keep = np.append((np.diff(knots.astype(np.float32)) > 0) & (np.diff(knots) >= least), True)
    return knots[keep], values[keep]


def polyline(knots: NDArray[np.float64], values: NDArray[np.float64], *, last_slope: float) -> Curve:
    """The curve through (knot, value) pairs that goes on with `last_slope` behind the last."""
    widths = np.append(np.diff(knots), np.inf)
    slopes = np.append(np.diff(values) / np.diff(knots), last_slope)
    return Curve(
        base=float(values[0]),
        knots=knots.astype(np.float32),
        widths=widths.astype(np.float32),
        slopes=slopes.astype(np.float32),
    )


def fit_tail(benign: NDArray[np.float64]) -> Curve:
    """−log₁₀ of the benign share that lies beyond a value.

    Interpolated between quantiles; behind the last of them the tail is taken for exponential, with the rate
    seen between the last knot and the one that ten times as many benign inputs exceed.

    Args:
        benign: (N,) statistic of benign inputs, N ≥ 2.
    """
    ordered = np.sort(benign)
    levels = [p for p in TAIL_LEVELS if p * len(ordered) >= LEAST_BEYOND] or [TAIL_LEVELS[0]]
    knots, scores = rising(
        np.quantile(ordered, [1 - p for p in levels]), np.array([-math.log10(p) for p in levels])
    )
    anchor = int(np.abs(scores - max(scores[-1] - 1, scores[0])).argmin())
    rise = scores[-1] - scores[anchor]
    slope = rise / (knots[-1] - knots[anchor]) if rise > 0 else 1 / max(float(np.std(ordered)), 1e-6)
    return polyline(knots, scores, last_slope=float(slope))


def fit_suspicion(benign: NDArray[np.float64]) -> Curve:
    """The share of benign inputs whose combined score is lower: 0 to 1.

    Args:
        benign: (N,) combined scores of benign inputs, N ≥ 1.
    """
    knots, shares = rising(np.quantile(benign, SUSPICION_LEVELS), np.array(SUSPICION_LEVELS))
    if len(knots) == 1:  # all scores alike: any larger one is as suspicious as can be
        step = 1e-6 + abs(float(knots[0])) * 1e-6
        knots, shares = np.array([knots[0], knots[0] + step]), np.array([0.0, 1.0])
    return polyline(knots, shares, last_slope=0.0)


def weighted(curve: Curve, weight: float) -> Curve:
    """A curve times a weight of at least 0."""
    return Curve(
        base=curve.base * weight,
        knots=curve.knots,
        widths=curve.widths,
        slopes=(curve.slopes * np.float32(weight)).astype(np.float32),
    )
