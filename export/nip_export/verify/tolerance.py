"""What verification takes for rounding, and which rows rounding may turn over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_export.defence.spec import DefenceSpec
from nip_export.verify.oracle import Expected

TOLERANCE = 1e-4
"""Largest error of a logit, as a share of the largest logit's size; see `gain` in :func:`compare`."""
SUSPICION_TOLERANCE = 1e-2
"""Suspicion is a rank among benign images: steep where many of them lie."""
KNIFE_EDGE = 1e-3
"""Rows whose statistics lie this close to a cut may fall either way in float32; they are not compared."""


@dataclass(frozen=True)
class Tolerance:
    """What is taken for rounding: `logits` as `TOLERANCE`, `suspicion` and `knife_edge` likewise."""

    logits: float = TOLERANCE
    suspicion: float = SUSPICION_TOLERANCE
    knife_edge: float = KNIFE_EDGE


EXACT = Tolerance()
HALF = Tolerance(logits=2e-3, suspicion=5e-2, knife_edge=2e-2)
"""For fp16, four roundings to float16: the CPU provider leaves some of them out, which ones depends on what
else is in the graph, so the file and its backbone alone do not agree to the last bits of float32."""


def size_of(logits: NDArray[np.floating]) -> float:
    """The scale that tolerances are shares of: the largest logit, at least 1."""
    return max(1.0, float(np.abs(logits).max()))


def on_the_edge(spec: DefenceSpec, expected: Expected, tolerance: Tolerance = EXACT) -> NDArray[np.bool_]:
    """Rows that rounding may push over a cut: screen, flag, or a tie between classes."""
    gate, reading = spec.gate, expected.reading
    edge = np.abs(reading.score - gate.flag_threshold) < tolerance.knife_edge
    if gate.screen_threshold is not None:
        edge |= np.abs(reading.sight - gate.screen_threshold) < tolerance.knife_edge
    for logits in (expected.raw.astype(np.float64), expected.decision.logits):
        best = np.sort(logits, axis=1)[:, -2:]
        scale = size_of(logits)
        edge |= best[:, 1] - best[:, 0] < tolerance.logits * scale
    return edge


def tied(expected: Expected, gain: float, tolerance: Tolerance = EXACT) -> NDArray[np.bool_]:
    """Flagged rows whose two best classes rounding may turn round; `gain` as in :func:`compare`."""
    logits = expected.decision.logits
    best = np.sort(logits, axis=1)[:, -2:]
    size = max(size_of(logits), gain * size_of(expected.raw))
    close: NDArray[np.bool_] = best[:, 1] - best[:, 0] < tolerance.logits * size
    return close & expected.reading.flagged
