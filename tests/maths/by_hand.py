"""The defence for one input at a time, from its definition, in Python's own floats.

Nothing here is vectorised and nothing is taken from the code under test but the containers of its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nip_export.spec import ClassScale, Curve, Gate, ReadOut
from nip_runtime.manifest import Policy

Row = list[float]


@dataclass(frozen=True)
class Answer:
    """What one input gets."""

    disagreement: float
    screened: bool
    score: float
    flagged: bool
    suspicion: float
    logits: Row
    candidate: int


def first_largest(row: Sequence[float]) -> int:
    best = 0
    for index, value in enumerate(row):
        if value > row[best]:
            best = index
    return best


def log_softmax(row: Row) -> Row:
    largest = max(row)
    log_sum = largest + math.log(math.fsum(math.exp(value - largest) for value in row))
    return [value - log_sum for value in row]


def evidence(readouts: Sequence[ReadOut], pooled: dict[str, Row]) -> Row:
    """Mean over the read-outs of their log-probabilities."""
    total: Row = []
    for readout in readouts:
        activation = pooled[readout.tap]
        scores = [
            math.fsum(a * float(readout.weight[d, c]) for d, a in enumerate(activation)) + float(bias)
            for c, bias in enumerate(readout.bias)
        ]
        opinion = log_softmax(scores)
        total = [t + o for t, o in zip(total, opinion, strict=True)] if total else opinion
    return [value / len(readouts) for value in total]


def standardise(value: float, scale: ClassScale, predicted: int, column: int) -> float:
    row = predicted if len(scale.mean) > 1 else 0
    return (value - float(scale.mean[row, column])) * float(scale.inverse_std[row, column])


def curve(c: Curve, value: float) -> float:
    """Walk along the pieces."""
    result = c.base
    for knot, width, slope in zip(c.knots.tolist(), c.widths.tolist(), c.slopes.tolist(), strict=True):
        if value <= knot:
            break
        result += slope * (value - knot if value < knot + width else width)
    return result


def answer(gate: Gate, policy: Policy, early: Row, raw: Row, perturbed: Row) -> Answer:
    """Gate, then policy."""
    classes = range(len(raw))
    predicted = first_largest(raw)
    others = [c for c in classes if c != predicted]

    gap = max(early[c] for c in others) - early[predicted]
    disagreement = standardise(gap, gate.disagreement_scale, predicted, 0)
    screened = gate.screen_threshold is None or disagreement > gate.screen_threshold
    score = curve(gate.disagreement_tail, disagreement)
    shifts = [0.0 for _ in classes]
    if screened:
        for c in classes:
            moved = (perturbed[c] - perturbed[predicted]) - (raw[c] - raw[predicted])
            shifts[c] = standardise(moved, gate.response_scale, predicted, c)
        score += curve(gate.response_tail, max(shifts[c] for c in others))
    flagged = screened and score > gate.flag_threshold
    suspicion = min(curve(gate.suspicion, score), 1.0)

    belief = [e + s for e, s in zip(early, shifts, strict=True)]
    candidate = max(others, key=lambda c: (belief[c], -c))
    logits = raw
    if policy is Policy.ALWAYS:
        logits, candidate = perturbed, first_largest(early)
    elif policy is Policy.GUARDED and flagged:
        belief[predicted] = min(belief[c] for c in others) - 1  # one nat
        logits = log_softmax(belief)
    return Answer(disagreement, screened, score, flagged, suspicion, logits, candidate)
