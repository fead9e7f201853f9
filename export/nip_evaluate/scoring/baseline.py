"""A baseline beside the file, on the same images."""

from __future__ import annotations

from collections.abc import Sequence

from nip_evaluate.scoring.outcome import Outcome
from nip_evaluate.scoring.paired import mcnemar, share, share_or_none
from nip_evaluate.scoring.scores import lead, mean_dsr
from nip_evaluate.terms.answers import Defence
from nip_evaluate.terms.results import BaselineAttack, BaselineResult, BenignResult, PairedTest


def score_baseline(
    defence: Defence,
    *,
    variant: bool,
    benign: BenignResult,
    file: Sequence[Outcome],
    baseline: Sequence[Outcome],
) -> BaselineResult:
    """Score a baseline and compare it with the file.

    Args:
        defence: the baseline.
        variant: whether it is the file's own defence with something exchanged.
        benign: what it costs.
        file: the file's outcomes of the same attacks, in any order; further attacks and images are ignored.
        baseline: the baseline's outcomes.

    Raises:
        InputError: if the file was not run on the same images.
    """
    lengths = {outcome.case.name: len(outcome) for outcome in baseline}
    ours = [outcome.first(lengths[outcome.case.name]) for outcome in file if outcome.case.name in lengths]
    by_name = {outcome.case.name: outcome for outcome in ours}
    return BaselineResult(
        name=defence.name,
        description=defence.description,
        passes=defence.passes,
        variant=variant,
        benign=benign,
        attacks=tuple(_attack(outcome, by_name.get(outcome.case.name)) for outcome in baseline),
        mean_dsr=mean_dsr(baseline),
        lead=lead(ours, baseline),
    )


def _attack(baseline: Outcome, file: Outcome | None) -> BaselineAttack:
    flagged = baseline.answers.flagged
    return BaselineAttack(
        name=baseline.case.name,
        defended=share(baseline.right),
        dsr=share_or_none(baseline.right[baseline.successful]),
        detected=None if flagged is None else share_or_none(flagged[baseline.successful]),
        against_file=None if file is None else _against(file, baseline),
    )


def _against(file: Outcome, baseline: Outcome) -> PairedTest | None:
    """Compare on attacks that succeeded on the raw network however it was run; None without any."""
    both = file.successful & baseline.successful
    return mcnemar(file.right[both], baseline.right[both]) if both.any() else None
