"""From answers to the numbers of one defence: benign cost, one attack, the mean over attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nip_evaluate.scoring.bootstrap import MeanDsr, stack
from nip_evaluate.scoring.outcome import Flags, Outcome, refuse_mixed_threats
from nip_evaluate.scoring.paired import cost, mcnemar, share, share_or_none
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.results import AttackResult, BenignResult, Estimate
from nip_evaluate.terms.threats import Attacked, Images, Labels
from nip_runtime.errors import InputError


def score_benign(answers: Answers, labels: Labels, *, second_pass: Flags | None) -> BenignResult:
    """What a defence costs on N benign images.

    Args:
        answers: the defence's, to all N.
        labels: (N,) int64 true classes.
        second_pass: (N,) bool, which images took the second pass; None where none or all do.

    Raises:
        InputError: if the numbers of images differ.
    """
    if len(answers) != len(labels) or (second_pass is not None and len(second_pass) != len(labels)):
        raise InputError.mismatch(
            expected=f"one answer per true class, {len(labels)}",
            got=f"{len(answers)} answers" + ("" if second_pass is None else f", {len(second_pass)} passes"),
            fix="answer the same images",
        )
    raw_right, right = answers.raw_labels == labels, answers.labels == labels
    flagged = answers.flagged
    return BenignResult(
        undefended=share(raw_right),
        defended=share(right),
        cost=cost(raw_right, right),
        false_corrections=share_or_none(~right[raw_right]),
        flagged=None if flagged is None else share(flagged),
        flagged_correct=None if flagged is None else share_or_none(flagged[raw_right]),
        second_pass=None if second_pass is None else share(second_pass),
    )


def score_attack(
    outcome: Outcome, *, attacked: Attacked, clean: Images, fooled_torch: Flags, signed: bool = False
) -> AttackResult:
    """What became of one attack.

    Args:
        outcome: the file's answers.
        attacked: the attack's n images.
        clean: (≥ n, *shape) float32, the images they were made from; further rows are ignored.
        fooled_torch: (n,) bool, the undefended torch network labels the attacked image wrongly.
        signed: inputs lie evenly around 0, as recordings do: their power has a meaning.

    Raises:
        InputError: if outcome, images and `fooled_torch` are not about the same images.
    """
    case, count = outcome.case, len(outcome)
    if not count == len(attacked.images) == len(fooled_torch) <= len(clean):
        raise InputError.mismatch(
            expected=f"{count} images attacked by {case.name}, as many as answers",
            got=f"{len(attacked.images)} attacked, {len(clean)} clean, {len(fooled_torch)} answers of torch",
            fix="hand over what belongs to the same images",
        )
    right, raw_right, successful = outcome.right, outcome.raw_right, outcome.successful
    flagged = outcome.answers.flagged
    mean_linf, mean_l2 = change_sizes(attacked.images, clean[:count])
    changes = signal_to_change_db(attacked.images, clean[:count]) if signed else clean[:0]
    return AttackResult(
        name=case.name,
        family=case.family,
        threat=case.threat,
        library=case.library,
        source=case.source,
        settings=case.settings,
        norm=case.norm,
        epsilon=case.epsilon,
        confidence=case.confidence,
        core=case.core,
        undefended=share(raw_right),
        defended=share(right),
        successes=int(successful.sum()),
        dsr=share_or_none(right[successful]),
        detected=None if flagged is None else share_or_none(flagged[successful]),
        broken=share_or_none(~right[raw_right]),
        gain=mcnemar(right, raw_right),
        agreement=share(raw_right != fooled_torch),
        mean_linf=mean_linf,
        mean_l2=mean_l2,
        queries=attacked.queries,
        seconds=attacked.seconds,
        snr_db=float(np.median(changes)) if len(changes) else None,
    )


def change_sizes(attacked: Images, clean: Images) -> tuple[float, float]:
    """Mean L∞ and mean L2 size of the change from (n, *shape) to (n, *shape), in input units."""
    change = (attacked.astype(np.float64) - clean).reshape(len(attacked), -1)
    return float(np.abs(change).max(1).mean()), float(np.linalg.norm(change, axis=1).mean())


def signal_to_change_db(attacked: Images, clean: Images) -> NDArray[np.float64]:
    """10 log₁₀ of the power of clean inputs (n, *shape) over that of their changes, of those that changed."""
    signal = np.square(clean.astype(np.float64)).reshape(len(clean), -1).sum(1)
    change = np.square(attacked.astype(np.float64) - clean).reshape(len(clean), -1).sum(1)
    told = (signal > 0) & (change > 0)
    ratios: NDArray[np.float64] = 10 * np.log10(signal[told] / change[told])
    return ratios


def mean_dsr(outcomes: Sequence[Outcome]) -> Estimate | None:
    """Mean defence success rate over the core attacks among `outcomes` that succeeded at least once.

    Every attack counts alike, however many successes it had. An attack that was run on fewer images counts
    on those. None if no core attack succeeded. The estimate's n is the largest number of images.

    Raises:
        InputError: if the core attacks belong to different threat models.
    """
    refuse_mixed_threats([outcome.case for outcome in outcomes])
    counted = [outcome for outcome in outcomes if outcome.case.core and outcome.successful.any()]
    if not counted:
        return None
    images = max(len(outcome) for outcome in counted)
    success = stack([outcome.successful for outcome in counted], images)
    return MeanDsr(success).estimate(stack([outcome.repaired for outcome in counted], images))


def lead(outcomes_a: Sequence[Outcome], outcomes_b: Sequence[Outcome]) -> Estimate | None:
    """Mean DSR of defence a minus that of defence b, paired: the same resampled images for both.

    Counts the core attacks that succeeded on the raw network as either of them runs it; None without any.

    Raises:
        InputError: if the two did not face the same core attacks on the same images, all of one threat model.
    """
    pairs = [
        (first, second)
        for first, second in _paired(outcomes_a, outcomes_b)
        if first.successful.any() and second.successful.any()
    ]
    if not pairs:
        return None
    images = max(len(first) for first, _ in pairs)
    means, repairs = [], []
    for side in ([first for first, _ in pairs], [second for _, second in pairs]):
        means.append(MeanDsr(stack([outcome.successful for outcome in side], images)))
        repairs.append(stack([outcome.repaired for outcome in side], images))
    value = means[0].value(repairs[0]) - means[1].value(repairs[1])
    differences = means[0].resampled(repairs[0]) - means[1].resampled(repairs[1])
    estimate = means[0].judge(value, differences, lowest=-1.0)
    return replace(estimate, method=f"paired difference; {estimate.method}")


def _paired(first: Sequence[Outcome], second: Sequence[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """The core outcomes of two defences, attack by attack."""
    refuse_mixed_threats([outcome.case for outcome in (*first, *second)])
    ours = {outcome.case.name: outcome for outcome in first if outcome.case.core}
    theirs = {outcome.case.name: outcome for outcome in second if outcome.case.core}
    if ours.keys() != theirs.keys():
        raise InputError.mismatch(
            expected="the same core attacks on both defences",
            got="only on one: " + ", ".join(sorted(ours.keys() ^ theirs.keys())),
            fix="compare on the attacks that both faced",
        )
    for name, outcome in ours.items():
        if not np.array_equal(outcome.truth, theirs[name].truth):
            raise InputError.mismatch(
                expected=f"{name} on the same images for both defences",
                got=f"{len(outcome)} and {len(theirs[name])} images, or other classes",
                fix="compare on the images that both answered",
            )
    return [(outcome, theirs[name]) for name, outcome in ours.items()]
