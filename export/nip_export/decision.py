"""What the defence makes of its statistics, in numpy: the gate's reading, then the policy's answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_export import statistics
from nip_export.spec import Gate
from nip_runtime.manifest import Policy

Logits = NDArray[np.floating]

DISBELIEF = 1.0
"""Nats by which a flagged row's predicted class stays below every other: with two classes it would tie."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The gate's view of N inputs.

    Attributes:
        disagreement: (N,) standardised.
        screened: (N,) bool: takes the second pass.
        score: (N,) combined −log₁₀ p.
        flagged: (N,) bool.
        suspicion: (N,) share of benign inputs that score lower.
        shifts: (N, C) standardised shift of every class, 0 where the second pass is not taken.
    """

    disagreement: NDArray[np.float64]
    screened: NDArray[np.bool_]
    score: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    suspicion: NDArray[np.float64]
    shifts: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decision:
    """The answer to N inputs.

    Attributes:
        logits: (N, C) defended logits.
        candidate: (N,) int64: the class the inputs may belong to in truth. Under ``always`` what the early
            read-outs believe in most; otherwise the best class besides the predicted one.
    """

    logits: NDArray[np.float64]
    candidate: NDArray[np.int64]


def read_gate(gate: Gate, early: NDArray[np.float64], raw: Logits, perturbed: Logits) -> Reading:
    """Apply a gate.

    Args:
        gate: calibrated.
        early: early evidence (N, C).
        raw: logits (N, C) of pass 1.
        perturbed: logits (N, C) under the inverse perturbation; rows that are not screened are not looked at.
    """
    predicted = raw.argmax(1)
    disagreement = statistics.standardise(
        statistics.disagreement(early, predicted), gate.disagreement_scale, predicted
    )[:, 0]
    # Negated comparisons, here and below, let NaN through to the second pass and then to the flag.
    threshold = gate.screen_threshold
    screened = np.ones(len(raw), bool) if threshold is None else ~(disagreement <= threshold)
    shifts = statistics.standardise(
        statistics.shift(raw, perturbed, predicted), gate.response_scale, predicted
    )
    response = statistics.without(shifts, predicted).max(1)
    score = statistics.apply_curve(gate.disagreement_tail, disagreement)
    score = score + np.where(screened, statistics.apply_curve(gate.response_tail, response), 0)
    return Reading(
        disagreement=disagreement,
        screened=screened,
        score=score,
        flagged=screened & ~(score <= gate.flag_threshold),
        suspicion=np.minimum(statistics.apply_curve(gate.suspicion, score), 1),
        shifts=np.where(screened[:, None], shifts, 0),
    )


def decide(
    policy: Policy, reading: Reading, early: NDArray[np.float64], raw: Logits, perturbed: Logits
) -> Decision:
    """Answer according to the policy; arguments as for :func:`read_gate`.

    ``guarded`` answers flagged rows with the log-probabilities of early evidence plus standardised shifts,
    where the predicted class, which the gate disbelieves, stands one nat below the lowest of the others.
    """
    predicted = raw.argmax(1)
    if policy is Policy.ALWAYS:
        return Decision(perturbed.astype(np.float64), early.argmax(1))
    others = statistics.without(early + reading.shifts, predicted)
    candidate = others.argmax(1)
    if policy is Policy.DETECT:
        return Decision(raw.astype(np.float64), candidate)
    lowest = np.where(np.isinf(others), np.inf, others).min(1, keepdims=True) - DISBELIEF
    corrected = statistics.log_softmax(np.where(np.isinf(others), lowest, others))
    return Decision(np.where(reading.flagged[:, None], corrected, raw), candidate)
