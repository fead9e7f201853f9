"""What the defence makes of its statistics, in numpy: the gate's reading, then the policy's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_export.defence import statistics
from nip_export.defence.spec import Gate, ReadOut, Typicality
from nip_export.network.grain import GRAIN
from nip_export.network.run import Passed
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy

Logits = NDArray[np.floating]

DISBELIEF = 1.0
"""Nats by which a flagged row's predicted class stays below every other: with two classes it would tie."""


@dataclass(frozen=True, eq=False)
class FirstLook:
    """All that pass 1 tells the gate of N inputs.

    Attributes:
        raw: logits (N, C).
        early: early evidence (N, C); of no read-outs, the log-probabilities of the logits.
        apart: (N, K) whitened distances of the features to every benign centre.
        grain: (N,) of the inputs; None where they are no colour images.
    """

    raw: Logits
    early: NDArray[np.float64]
    apart: NDArray[np.float64]
    grain: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, passed: Passed, readouts: Sequence[ReadOut], typicality: Typicality) -> FirstLook:
        """What a forward pass leaves, read by read-outs and typicality."""
        grain = passed.pooled.get(GRAIN)
        return cls(
            passed.logits,
            statistics.evidence(readouts, passed.pooled)
            if readouts
            else statistics.log_softmax(passed.logits),
            statistics.distances(typicality, passed.pooled[typicality.tap]),
            None if grain is None else grain[:, 0].astype(np.float64),
        )

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class (N,) with the largest logit."""
        predicted: NDArray[np.int64] = self.raw.argmax(1)
        return predicted

    @property
    def distance(self) -> NDArray[np.float64]:
        """To the nearest centre (N, 1): the statistic of typicality."""
        nearest: NDArray[np.float64] = self.apart.min(1, keepdims=True)
        return nearest

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> FirstLook:
        """The same for some of the inputs."""
        grain = None if self.grain is None else self.grain[rows]
        return FirstLook(self.raw[rows], self.early[rows], self.apart[rows], grain)


@dataclass(frozen=True, eq=False)
class Reading:
    """The gate's view of N inputs.

    Attributes:
        free: (N,) sum of the free tests.
        sight: (N,) what the screen looks at: that, and of colour images their grain.
        screened: (N,) bool: takes the second pass.
        score: (N,) combined −log₁₀ p.
        flagged: (N,) bool.
        suspicion: (N,) share of benign inputs that score lower.
        shifts: (N, C) standardised shift of every class, 0 where the second pass is not taken.
    """

    free: NDArray[np.float64]
    sight: NDArray[np.float64]
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


def free_statistics(gate: Gate, look: FirstLook) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Disagreement and distance (N,), standardised."""
    predicted = look.predicted
    disagreement = statistics.standardise(
        statistics.disagreement(look.early, predicted), gate.disagreement_scale, predicted
    )
    distance = statistics.standardise(look.distance, gate.typicality_scale, predicted)
    return disagreement[:, 0], distance[:, 0]


def free_score(gate: Gate, look: FirstLook) -> NDArray[np.float64]:
    """What pass 1 alone makes of N inputs: the sum (N,) of the free tests."""
    disagreement, distance = free_statistics(gate, look)
    score: NDArray[np.float64] = statistics.apply_curve(gate.disagreement_tail, disagreement)
    return score + statistics.apply_curve(gate.typicality_tail, distance)


def sight(gate: Gate, free: NDArray[np.float64], grain: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """What the screen looks at (N,): the free score (N,), and the grain (N,) where the gate minds it.

    Raises:
        ExportError: it does, and no grain was given.
    """
    if gate.grain_tail is None:
        return free
    if grain is None:
        raise ExportError("the gate's screen minds the grain of colour images: expected it, got none")
    seen: NDArray[np.float64] = free + statistics.apply_curve(gate.grain_tail, grain)
    return seen


def read_gate(gate: Gate, look: FirstLook, second: Logits) -> Reading:
    """Apply a gate.

    Args:
        gate: calibrated.
        look: what pass 1 tells.
        second: logits (N, C) of pass 2; rows that are not screened are not looked at.
    """
    return judge(gate, free_score(gate, look), look.grain, look.raw, second)


def judge(
    gate: Gate,
    free: NDArray[np.float64],
    grain: NDArray[np.float64] | None,
    raw: Logits,
    second: Logits,
) -> Reading:
    """Apply a gate whose free score (N,) is known already; else as :func:`read_gate`."""
    predicted = raw.argmax(1)
    seen = sight(gate, free, grain)
    # Negated comparisons, here and below, let NaN through to the second pass and then to the flag.
    threshold = gate.screen_threshold
    screened = np.ones(len(raw), bool) if threshold is None else ~(seen <= threshold)
    shifts = statistics.standardise(statistics.shift(raw, second, predicted), gate.response_scale, predicted)
    largest = statistics.without(shifts, predicted).max(1)
    change = statistics.standardise(statistics.change(raw, second), gate.change_scale, predicted)[:, 0]
    response = statistics.apply_curve(gate.response_tail, largest)
    response = response + statistics.apply_curve(gate.change_tail, change)
    score = free + np.where(screened, response, 0)
    return Reading(
        free=free,
        sight=seen,
        screened=screened,
        score=score,
        flagged=screened & ~(score <= gate.flag_threshold),
        suspicion=np.minimum(statistics.apply_curve(gate.suspicion, score), 1),
        shifts=np.where(screened[:, None], shifts, 0),
    )


def decide(
    policy: Policy, gate: Gate, reading: Reading, early: NDArray[np.float64], raw: Logits, second: Logits
) -> Decision:
    """Answer according to the policy, from early evidence (N, C) and the logits of both passes.

    ``guarded`` answers flagged rows with the log-probabilities of weighted early evidence plus standardised
    shifts, where the predicted class, which the gate disbelieves, stands one nat below the lowest of the
    others.
    """
    predicted = raw.argmax(1)
    if policy is Policy.ALWAYS:
        return Decision(second.astype(np.float64), early.argmax(1))
    # Rows without a response have no other evidence to weigh early evidence against; the weight may be 0.
    weight = np.where(reading.screened, gate.early_weight, 1.0)[:, None]
    others = statistics.without(weight * early + reading.shifts, predicted)
    candidate = others.argmax(1)
    if policy is Policy.DETECT:
        return Decision(raw.astype(np.float64), candidate)
    lowest = np.where(np.isinf(others), np.inf, others).min(1, keepdims=True) - DISBELIEF
    corrected = statistics.log_softmax(np.where(np.isinf(others), lowest, others))
    return Decision(np.where(reading.flagged[:, None], corrected, raw), candidate)
