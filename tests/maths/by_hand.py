"""The defence for one input at a time, from its definition, in Python's own floats.

Nothing here is vectorised and nothing is taken from the code under test but the containers of its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nip_export.defence.spec import ClassScale, Curve, Gate, ReadOut, Typicality
from nip_runtime.file.manifest import Policy

Row = list[float]


@dataclass(frozen=True)
class Answer:
    """What one input gets."""

    free: float
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


def distance(typicality: Typicality, features: Row) -> float:
    """From whitened features to the nearest centre."""
    whitened = [
        math.fsum(f * float(typicality.weight[d, r]) for d, f in enumerate(features)) + float(bias)
        for r, bias in enumerate(typicality.bias)
    ]
    return min(
        math.sqrt(math.fsum((w - c) ** 2 for w, c in zip(whitened, centre, strict=True)))
        for centre in typicality.centres.tolist()
    )


def softmax(row: Row) -> Row:
    return [math.exp(value) for value in log_softmax(row)]


def change(raw: Row, second: Row) -> float:
    """How far class probabilities move, all in all; less than a 1024th counts as that."""
    return max(math.fsum(abs(q - p) for p, q in zip(softmax(raw), softmax(second), strict=True)), 1 / 1024)


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


def answer(gate: Gate, policy: Policy, early: Row, apart: float, raw: Row, second: Row) -> Answer:
    """Gate, then policy; `apart` is the distance to the nearest centre."""
    classes = range(len(raw))
    predicted = first_largest(raw)
    others = [c for c in classes if c != predicted]

    gap = max(early[c] for c in others) - early[predicted]
    free = curve(gate.disagreement_tail, standardise(gap, gate.disagreement_scale, predicted, 0))
    free += curve(gate.typicality_tail, standardise(apart, gate.typicality_scale, predicted, 0))
    screened = gate.screen_threshold is None or free > gate.screen_threshold
    score = free
    shifts = [0.0 for _ in classes]
    if screened:
        for c in classes:
            moved = (second[c] - second[predicted]) - (raw[c] - raw[predicted])
            shifts[c] = standardise(moved, gate.response_scale, predicted, c)
        moves = standardise(change(raw, second), gate.change_scale, predicted, 0)
        score += curve(gate.response_tail, max(shifts[c] for c in others)) + curve(gate.change_tail, moves)
    flagged = screened and score > gate.flag_threshold
    suspicion = min(curve(gate.suspicion, score), 1.0)

    belief = [gate.early_weight * e + s for e, s in zip(early, shifts, strict=True)]
    candidate = max(others, key=lambda c: (belief[c], -c))
    logits = raw
    if policy is Policy.ALWAYS:
        logits, candidate = second, first_largest(early)
    elif policy is Policy.GUARDED and flagged:
        belief[predicted] = min(belief[c] for c in others) - 1  # one nat
        logits = log_softmax(belief)
    return Answer(free, screened, score, flagged, suspicion, logits, candidate)
