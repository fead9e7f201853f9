"""The gate: tests that fail together only by chance on benign inputs, cut at the benign budget.

Free, on pass 1: **disagreement**, how much more the early read-outs believe in another class than in the
predicted one, and **typicality**, how far the features lie from every benign class centre. Their sum is the
free score; the screen is a cut on it, to which it adds the grain of colour images, so that most benign inputs
never take the second pass. On pass 2, the
**response** to the second view: how far another class's logit rises towards the predicted one's, and how far
the class probabilities move. Each is standardised per predicted class and turned into a benign −log₁₀ p; the
weighted sum (Fisher's method, up to factors) is cut so that, with 90 % confidence, at most the stated share
of correctly classified benign inputs exceeds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nip_export.calibrate.absent import absent_scale, absent_typicality
from nip_export.calibrate.curves import fit_suspicion, fit_tail, weighted
from nip_export.calibrate.scales import fit_scale, silent, with_rows
from nip_export.defence import statistics
from nip_export.defence.decision import FirstLook, Reading, decide, free_score, read_gate, sight
from nip_export.defence.spec import ClassScale, Curve, Gate, ReadOut, Typicality
from nip_export.network.run import Passed
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy
from nip_runtime.file.rates import Rate

FOLDS = 5
DOUBT = 0.1
"""Probability with which a gate may flag more than the budget on inputs like those it was fitted to."""
LEAST_CORRECT = 50
"""Correctly classified benign inputs without which no threshold is set."""
DISAGREEMENT_WEIGHT, TYPICALITY_WEIGHT, RESPONSE_WEIGHT, CHANGE_WEIGHT = 0.5, 0.5, 1.0, 0.5
"""What each test counts. The largest shift sees most on every network tried; the others depend on each other
and on it, so at full weight they would drown it. Chosen on three networks, see the research log."""
GRAIN_WEIGHT = 0.5
"""What grain counts in the screen, beside the two free tests."""
LEAST_APART = 1e-6
"""Scores nearer than this share of their size are one: a file computes them in float32."""
LEAST_VARIED = 1e-3
"""Spread that benign grain must have, as a share of its median."""
EARLY_WEIGHT = 0.4
"""What early evidence that knows everything would count beside the shifts; see :func:`early_weight`."""


@dataclass(frozen=True, eq=False)
class Known:
    """What was fitted to profile images, and which classes these were of.

    Attributes:
        readouts: of the early evidence; none where the network's own doubt stands in.
        typicality: what benign features look like.
        present: (C,) bool: classes with profile images.
    """

    readouts: tuple[ReadOut, ...]
    typicality: Typicality
    present: NDArray[np.bool_]

    @property
    def own(self) -> bool:
        """Whether the logits stand in for early layers: all disagreement is then how unsure the network is.

        They know every class, and as attacks move them first of all, they count nothing in the answer. Files
        of earlier versions have a copy of the last layer in this place: a read-out of the features.
        """
        return all(readout.tap == self.typicality.tap for readout in self.readouts)

    def early_weight(self, early: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
        """What these read-outs' evidence (N, C) counts in the answer; see :func:`early_weight`."""
        return 0.0 if self.own else early_weight(early, labels)


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


def needed_for(budget: float) -> int:
    """Correctly classified inputs with which a gate that flags none of them is shown to keep the budget."""
    return math.ceil(math.log(DOUBT) / math.log1p(-budget))


def cut(scores: NDArray[np.float64], exceeding: int) -> float:
    """A threshold that at most `exceeding` of the scores exceed, halfway between two of them.

    Never among equal ones, but just above them: inputs of classes that the free tests are silent about all
    have one score, and on a threshold that equals it rounding would send on every one of them, or none.
    """
    ordered = np.sort(scores)
    if exceeding >= len(ordered):
        return float(ordered[0]) - 1 - abs(float(ordered[0]))
    first = len(ordered) - max(exceeding, 0) - 1
    apart = np.flatnonzero(np.diff(ordered[first:]) > LEAST_APART * (1 + np.abs(ordered[first:-1])))
    if not len(apart):
        return float(ordered[-1]) + 1e-3 * (1 + abs(float(ordered[-1])))
    below = first + int(apart[0])
    value, halfway = float(ordered[below]), float(ordered[below : below + 2].mean())
    return halfway if not apart[0] else min(halfway, value + 1e-3 * (1 + abs(value)))


def early_weight(early: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """What early evidence counts in the answer: by the share of the label's information that it has.

    0.4 × (1 − mean surprise at the true label ÷ surprise of a guess), at least 0: read-outs that know nothing
    say nothing. Fitted weights (a multinomial logistic fit to benign labels, or to benign mistakes) trust the
    early layers and the second view's logits, which attacks move, over the shifts, and answer worse.

    Args:
        early: early evidence (N, C).
        labels: (N,) int64, true classes.
    """
    surprise = -float(np.take_along_axis(early, labels[:, None], axis=1).mean())
    return EARLY_WEIGHT * max(0.0, 1 - surprise / math.log(early.shape[1]))


def fit_tests(
    look: FirstLook,
    second: NDArray[np.floating],
    known: Known,
    *,
    early_weight: float,
) -> Gate:
    """Fit the tests to correctly classified benign inputs: a gate without screen that flags nothing yet.

    Args:
        look: pass 1 over N inputs.
        second: logits (N, C) in the second pass.
        known: what was fitted to other benign inputs.
        early_weight: what early evidence counts in the answer.
    """
    predicted, classes = look.predicted, look.raw.shape[1]
    absent = ~known.present

    def tail(values: NDArray[np.float64], weight: float) -> Curve:
        return weighted(fit_tail(values), weight)

    distance = statistics.disagreement(look.early, predicted)
    disagreement_scale = fit_scale(distance, predicted, classes=classes)
    if not known.own:  # of a class without images read-outs know nothing; most of its images would be flagged
        disagreement_scale = with_rows(disagreement_scale, silent(classes), absent)
    typicality_scale = fit_scale(look.distance, predicted, classes=classes)
    typicality_scale = with_rows(typicality_scale, absent_typicality(look, known.present), absent)
    moved = statistics.shift(look.raw, second, predicted)
    response_scale = fit_scale(moved, predicted, classes=classes)
    if response_scale.per_class:
        wider = absent_scale(moved, response_scale, predicted, known.present)
        response_scale = with_rows(response_scale, wider, absent)
    shifts = statistics.standardise(moved, response_scale, predicted)
    change = statistics.change(look.raw, second)
    change_scale = fit_scale(change, predicted, classes=classes)
    wider = absent_scale(change, change_scale, predicted, known.present)
    change_scale = with_rows(change_scale, wider, absent)

    def standard(values: NDArray[np.float64], scale: ClassScale) -> NDArray[np.float64]:
        return statistics.standardise(values, scale, predicted)[:, 0]

    return Gate(
        disagreement_scale=disagreement_scale,
        # Read-outs no better than a guess say nothing here either: their noise would drown the other tests.
        disagreement_tail=tail(
            standard(distance, disagreement_scale),
            DISAGREEMENT_WEIGHT if early_weight > 0 or known.own else 0.0,
        ),
        typicality_scale=typicality_scale,
        typicality_tail=tail(standard(look.distance, typicality_scale), TYPICALITY_WEIGHT),
        response_scale=response_scale,
        response_tail=tail(statistics.without(shifts, predicted).max(1), RESPONSE_WEIGHT),
        change_scale=change_scale,
        change_tail=tail(standard(change, change_scale), CHANGE_WEIGHT),
        early_weight=early_weight,
        screen_threshold=None,
        flag_threshold=np.inf,
        suspicion=fit_suspicion(np.zeros(1)),
        grain_tail=tail(look.grain, GRAIN_WEIGHT) if look.grain is not None and _varies(look.grain) else None,
    )


def _varies(grain: NDArray[np.float64]) -> bool:
    """Whether benign grain (N,) can tell anything: grey images in three channels have none, and next to none
    everything but rounding would stand out, rounding included."""
    low, middle, high = np.quantile(grain, [0.25, 0.5, 0.75])
    return bool(high - low > LEAST_VARIED * middle > 0)


def set_screen(gate: Gate, look: FirstLook, *, screen_rate: float | None) -> Gate:
    """The same gate letting as many benign inputs as allowed into the second pass.

    Args:
        gate: its tests.
        look: pass 1 over N benign inputs as they come, misclassified ones among them.
        screen_rate: share of inputs like these that may take the second pass; kept with 90 % confidence as
            the budget is, see :func:`allowed_flags`. None or 1: all do.
    """
    if screen_rate is None or screen_rate >= 1:
        return replace(gate, grain_tail=None)
    seen = sight(gate, free_score(gate, look), look.grain)
    threshold = cut(seen, allowed_flags(len(look.raw), screen_rate))
    return replace(gate, screen_threshold=threshold)


def set_threshold(
    gate: Gate, scores: NDArray[np.float64], screened: NDArray[np.bool_], *, benign_budget: float
) -> Gate:
    """The same gate flagging as much as the budget allows.

    Args:
        gate: its tests.
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
    second: NDArray[np.floating],
    labels: NDArray[np.int64],
    known: Known,
    *,
    benign_budget: float,
    screen_rate: float | None,
    policy: Policy,
    seed: int,
    change: Callable[[Gate], Gate] = lambda gate: gate,
) -> Calibration:
    """Fit the gate to held-out benign inputs; measure by cross-validation what it does to others like them.

    Args:
        raw: pass 1 over N benign inputs that nothing else was fitted to.
        second: (N, C) logits of the policy's second pass.
        labels: (N,) int64.
        known: what was fitted to the profile images.
        benign_budget: share of correctly classified inputs that may be flagged.
        screen_rate: share of all inputs that may take the second pass; None or 1: all do.
        policy: whose answers the defended accuracy counts.
        seed: of the folds.
        change: what is done to the fitted tests before anything is cut by them: a variant of the gate.

    Raises:
        ExportError: fewer than 50 inputs are classified correctly, or too few to keep the budget.
    """
    look = FirstLook.of(raw, known.readouts, known.typicality)
    correct = look.predicted == labels
    check_enough(correct, benign_budget)
    weight = known.early_weight(look.early, labels)

    def fit(rows: NDArray[np.bool_]) -> Gate:
        right = rows & correct
        gate = fit_tests(look.take(right), second[right], known, early_weight=weight)
        return set_screen(change(gate), look.take(rows), screen_rate=screen_rate)

    random, fold = np.random.default_rng(seed), np.empty(len(labels), np.int64)
    for part in (correct, ~correct):  # apart, so that the gate does not depend on inputs it is not fitted to
        fold[part] = random.permutation(int(part.sum())) % FOLDS
    readings: list[tuple[NDArray[np.bool_], Gate, Reading]] = []
    scores, screened = np.empty(len(labels)), np.empty(len(labels), bool)
    for left_out in range(FOLDS):
        rows = fold == left_out
        gate = fit(~rows)
        reading = read_gate(gate, look.take(rows), second[rows])
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
        decision = decide(policy, gate, judged, look.early[rows], look.raw[rows], second[rows])
        answers[rows] = decision.logits.argmax(1)
    return Calibration(
        gate=close(fit(np.ones(len(labels), bool)), correct),
        flag_rate=Rate(int(flagged[correct].sum()), int(correct.sum())),
        flag_rate_all=Rate(int(flagged.sum()), len(labels)),
        pass2_rate=Rate(int(screened.sum()), len(labels)),
        accuracy_raw=Rate(int(correct.sum()), len(labels)),
        accuracy_defended=Rate(int((answers == labels).sum()), len(labels)),
    )


def check_enough(correct: NDArray[np.bool_], benign_budget: float) -> None:
    """Refuse calibration inputs of which too few are right to set thresholds by.

    Raises:
        ExportError: fewer than 50 are, or too few to keep the budget.
    """
    right = int(correct.sum())
    if right < LEAST_CORRECT:
        raise ExportError(
            f"expected at least {LEAST_CORRECT} correctly classified calibration images, got "
            f"{right} of {len(correct)}; give more, or check that mean, std, channel order and "
            "label numbers are those of the training"
        )
    if allowed_flags(right, benign_budget) < 0:
        raise ExportError(
            f"benign_budget: {right} correctly classified calibration images cannot show that "
            f"at most {benign_budget:.2%} are flagged; give at least {needed_for(benign_budget)}, or a "
            "larger budget"
        )
