"""The gate: two tests that fail together only by chance on benign inputs, cut at the benign budget.

**Disagreement** (pass 1): how much more the early read-outs believe in another class than in the predicted
one. **Response** (pass 2): how far another class's logit rises towards the predicted one's under the inverse
perturbation. Both are standardised per predicted class, turned into benign −log₁₀ p, and added (Fisher's
method, up to a factor); the sum is cut so that, with 90 % confidence, at most the stated share of
correctly classified benign inputs exceeds it.
The screen is a cut on the disagreement alone, so that most benign inputs never take the second pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nip_export import statistics
from nip_export.calibrate.curves import fit_suspicion, fit_tail
from nip_export.calibrate.scales import fit_scale
from nip_export.decision import Reading, decide, read_gate
from nip_export.network import Passed
from nip_export.spec import Gate, ReadOut
from nip_runtime.errors import ExportError
from nip_runtime.manifest import Policy
from nip_runtime.rates import Rate

FOLDS = 5
DOUBT = 0.1
"""Probability with which a gate may flag more than the budget on inputs like those it was fitted to."""
LEAST_CORRECT = 50
"""Correctly classified benign inputs without which no threshold is set."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A gate and what cross-validation says of it.

    Attributes:
        gate: fitted to all calibration inputs.
        flag_rate: correctly classified inputs flagged by a gate that was fitted without them.
        flag_rate_all: likewise of all inputs, misclassified ones too: what traffic without labels shows.
        pass2_rate: inputs, misclassified ones too, that took the second pass of a gate fitted without them.
        accuracy_raw: of the backbone, over all calibration inputs.
        accuracy_defended: of the policy, each input judged by a gate that was fitted without it.
    """

    gate: Gate
    flag_rate: Rate
    flag_rate_all: Rate
    pass2_rate: Rate
    accuracy_raw: Rate
    accuracy_defended: Rate


def allowed_flags(count: int, budget: float) -> int:
    """How many of `count` benign inputs may be flagged so that the budget is kept on others like them.

    The largest number that would be seen, or undercut, with a probability of at most 10 % if the true rate
    were the budget (one-sided exact bound; Clopper and Pearson, 1934); −1 if not even 0 is that unlikely.
    Allowing budget × count instead would break the promise for every second calibration set.
    """
    allowed, below = -1, 0.0
    for flags in range(count + 1):
        log_ways = math.lgamma(count + 1) - math.lgamma(flags + 1) - math.lgamma(count - flags + 1)
        below += math.exp(log_ways + flags * math.log(budget) + (count - flags) * math.log1p(-budget))
        if below > DOUBT:
            break
        allowed = flags
    return allowed


def cut(scores: NDArray[np.float64], exceeding: int) -> float:
    """A threshold that at most `exceeding` of the scores exceed, halfway between two of them."""
    ordered = np.sort(scores)
    if exceeding <= 0:
        return float(ordered[-1]) + 1e-3 * (1 + abs(float(ordered[-1])))
    if exceeding >= len(ordered):
        return float(ordered[0]) - 1.0
    return float(ordered[-exceeding - 1 :][:2].mean())


def fit_tests(
    early: NDArray[np.float64],
    raw: NDArray[np.floating],
    perturbed: NDArray[np.floating],
) -> Gate:
    """Fit the two tests to correctly classified benign inputs: a gate without screen that flags nothing yet.

    Args:
        early: early evidence (N, C).
        raw: logits (N, C).
        perturbed: logits (N, C) under the inverse perturbation.
    """
    predicted, classes = raw.argmax(1), raw.shape[1]
    distance = statistics.disagreement(early, predicted)
    disagreement_scale = fit_scale(distance, predicted, classes=classes)
    disagreement = statistics.standardise(distance, disagreement_scale, predicted)[:, 0]
    moved = statistics.shift(raw, perturbed, predicted)
    response_scale = fit_scale(moved, predicted, classes=classes)
    shifts = statistics.standardise(moved, response_scale, predicted)
    return Gate(
        disagreement_scale=disagreement_scale,
        disagreement_tail=fit_tail(disagreement),
        response_scale=response_scale,
        response_tail=fit_tail(statistics.without(shifts, predicted).max(1)),
        screen_threshold=None,
        flag_threshold=np.inf,
        suspicion=fit_suspicion(np.zeros(1)),
    )


def set_screen(
    gate: Gate, early: NDArray[np.float64], raw: NDArray[np.floating], *, screen_rate: float | None
) -> Gate:
    """The same gate letting as many benign inputs as allowed into the second pass.

    Args:
        gate: its tests.
        early: early evidence (N, C) of benign inputs as they come, misclassified ones among them.
        raw: their logits (N, C).
        screen_rate: share of inputs like these that may take the second pass; kept with 90 % confidence as
            the budget is, see :func:`allowed_flags`. None or 1: all do.
    """
    if screen_rate is None or screen_rate >= 1:
        return gate
    predicted = raw.argmax(1)
    disagreement = statistics.standardise(
        statistics.disagreement(early, predicted), gate.disagreement_scale, predicted
    )[:, 0]
    return replace(gate, screen_threshold=cut(disagreement, allowed_flags(len(raw), screen_rate)))


def set_threshold(
    gate: Gate, scores: NDArray[np.float64], screened: NDArray[np.bool_], *, benign_budget: float
) -> Gate:
    """The same gate flagging as much as the budget allows.

    Args:
        gate: its two tests.
        scores: (N,) combined scores of correctly classified benign inputs, best those that the tests were not
            fitted to: on its own inputs a test finds less to object to.
        screened: (N,) bool: which of them took the second pass; the others cannot be flagged.
        benign_budget: share of inputs like these that may be flagged; see :func:`allowed_flags`.
    """
    flaggable = np.where(screened, scores, scores.min())
    return replace(
        gate,
        flag_threshold=cut(flaggable, allowed_flags(len(scores), benign_budget)),
        suspicion=fit_suspicion(scores),
    )


def calibrate(
    raw: Passed,
    perturbed: NDArray[np.floating],
    labels: NDArray[np.int64],
    readouts: Sequence[ReadOut],
    *,
    benign_budget: float,
    screen_rate: float | None,
    policy: Policy,
    seed: int,
) -> Calibration:
    """Fit the gate to held-out benign inputs; measure by cross-validation what it does to others like them.

    Args:
        raw: pass 1 over N benign inputs that nothing else was fitted to.
        perturbed: (N, C) logits under the inverse perturbation of the policy.
        labels: (N,) int64.
        readouts: of the early evidence.
        benign_budget: share of correctly classified inputs that may be flagged.
        screen_rate: share of all inputs that may take the second pass; None or 1: all do.
        policy: whose answers the defended accuracy counts.
        seed: of the folds.

    Raises:
        ExportError: fewer than 50 inputs are classified correctly, or too few to keep the budget.
    """
    early = statistics.evidence(readouts, raw.pooled)
    correct = raw.logits.argmax(1) == labels
    if correct.sum() < LEAST_CORRECT:
        raise ExportError(
            f"expected at least {LEAST_CORRECT} correctly classified calibration images, got "
            f"{int(correct.sum())} of {len(labels)}; give more, or check that mean, std, channel order and "
            "label numbers are those of the training"
        )
    if allowed_flags(int(correct.sum()), benign_budget) < 0:
        needed = math.ceil(math.log(DOUBT) / math.log1p(-benign_budget))
        raise ExportError(
            f"benign_budget: {int(correct.sum())} correctly classified calibration images cannot show that "
            f"at most {benign_budget:.2%} are flagged; give at least {needed}, or a larger budget"
        )

    def fit(rows: NDArray[np.bool_]) -> Gate:
        right = rows & correct
        gate = fit_tests(early[right], raw.logits[right], perturbed[right])
        return set_screen(gate, early[rows], raw.logits[rows], screen_rate=screen_rate)

    random, fold = np.random.default_rng(seed), np.empty(len(labels), np.int64)
    for part in (correct, ~correct):  # apart, so that the gate does not depend on inputs it is not fitted to
        fold[part] = random.permutation(int(part.sum())) % FOLDS
    readings: list[tuple[NDArray[np.bool_], Gate, Reading]] = []
    scores, screened = np.empty(len(labels)), np.empty(len(labels), bool)
    for left_out in range(FOLDS):
        rows = fold == left_out
        gate = fit(~rows)
        reading = read_gate(gate, early[rows], raw.logits[rows], perturbed[rows])
        scores[rows], screened[rows] = reading.score, reading.screened
        readings.append((rows, gate, reading))

    def close(gate: Gate, rows: NDArray[np.bool_]) -> Gate:
        return set_threshold(gate, scores[rows], screened[rows], benign_budget=benign_budget)

    flagged, answers = np.empty(len(labels), bool), np.empty(len(labels), np.int64)
    for rows, gate, reading in readings:
        # Neither the tests nor the threshold have seen the rows that they are measured on.
        threshold = close(gate, correct & ~rows).flag_threshold
        judged = replace(reading, flagged=reading.screened & ~(reading.score <= threshold))
        flagged[rows] = judged.flagged
        decision = decide(policy, judged, early[rows], raw.logits[rows], perturbed[rows])
        answers[rows] = decision.logits.argmax(1)
    return Calibration(
        gate=close(fit(np.ones(len(labels), bool)), correct),
        flag_rate=Rate(int(flagged[correct].sum()), int(correct.sum())),
        flag_rate_all=Rate(int(flagged.sum()), len(labels)),
        pass2_rate=Rate(int(screened.sum()), len(labels)),
        accuracy_raw=Rate(int(correct.sum()), len(labels)),
        accuracy_defended=Rate(int((answers == labels).sum()), len(labels)),
    )
