"""Claims that a sound evaluation fulfils: a defence is only as well tested as its attacks are strong.

Source: N. Carlini et al., "On Evaluating Adversarial Robustness" (2019), sections 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from nip_evaluate.scoring.outcome import Flags, Outcome
from nip_evaluate.terms.results import AttackResult, Check, NotMeasured
from nip_evaluate.terms.threats import Norm, Threat
from nip_runtime.file.rates import Rate

FGSM: Final = "FGSM"
PGD: Final = "PGD"
"""`AttackCase.family` of the two L∞ attacks that claims are made about."""
LARGE_EPSILON: Final = 25 / 255

_TOLERATED_IMAGES: Final = 1
_LEAST_PERCENT: Final = (
    99  # in whole numbers, here and below: a share on the line must not be lost to rounding
)
_LISTED: Final = 4


@dataclass(frozen=True, kw_only=True)
class MoreSteps:
    """Accuracy that an attack leaves with its usual number of steps, and with more, on the same images."""

    attack: str
    steps: int
    more_steps: int
    accuracy: Rate
    accuracy_more: Rate


@dataclass(frozen=True)
class Sanity:
    """What was checked, and what could not be."""

    checks: tuple[Check, ...]
    not_measured: tuple[NotMeasured, ...]


@dataclass(frozen=True)
class _Finding:
    """One comparison behind a claim."""

    holds: bool
    text: str


def sanity_checks(
    outcomes: Sequence[Outcome],
    results: Sequence[AttackResult],
    *,
    classes: int,
    more_steps: MoreSteps | None = None,
    exact: bool = True,
    given: Sequence[Check] = (),
) -> Sanity:
    """Check an evaluation of the file.

    Args:
        outcomes: of the file, every attack.
        results: of the same attacks.
        classes: how many the network tells apart.
        more_steps: the same attack with few and with many steps, if that was tried.
        exact: whether the file computes in the attacked torch network's precision; if not, how far the two
            agree is told and not required.
        given: checks that the caller made himself, such as the parity of twin and file; they come first.
    """
    claims: tuple[tuple[str, str, Iterator[_Finding]], ...] = (
        (
            "PGD leaves the undefended network no more accuracy than FGSM of the same ε.",
            "no gray-box PGD and FGSM of the same ε",
            _pgd_and_fgsm(outcomes),
        ),
        (
            "A larger ε leaves no more accuracy than a smaller one of the same attack (but for one image).",
            "no attack with two sizes of ε",
            _larger_epsilon(outcomes),
        ),
        (
            f"PGD of ε ≥ 25/255 leaves the undefended network no more accuracy than chance (1/{classes}).",
            "no gray-box PGD of so large an ε",
            _large_epsilon(outcomes, classes),
        ),
        (
            "Minimum-norm L2 attacks succeed on at least 99 % of what the undefended network labels rightly.",
            "no gray-box minimum-norm L2 attack, or no image labelled rightly before it",
            _minimum_norm(outcomes),
        ),
        (
            "No query attack leaves the defence less accuracy than the adaptive worst case of the same ε.",
            "no query and adaptive attacks of the same norm and ε",
            _query_and_adaptive(outcomes),
        ),
        (
            "File and torch network agree on at least 99 % of the images of every gray-box attack."
            if exact
            else "File and torch network compute in different precision: how often they agree is measured "
            "and not required to be 99 %.",
            "no gray-box attack",
            _agreement(results, least_percent=_LEAST_PERCENT if exact else 0),
        ),
        (
            "More steps change the accuracy that an attack leaves by less than a point.",
            "no attack was run again with more steps",
            _steps(more_steps),
        ),
    )
    judged = [_judge(*claim) for claim in claims]
    return Sanity(
        checks=(*given, *(one for one in judged if isinstance(one, Check))),
        not_measured=tuple(one for one in judged if isinstance(one, NotMeasured)),
    )


def _judge(claim: str, missing: str, findings: Iterator[_Finding]) -> Check | NotMeasured:
    """A claim holds if every comparison does; where one does not, all that speak against it are told."""
    found = list(findings)
    if not found:
        return NotMeasured(what=claim, why=missing)
    failed = [one.text for one in found if not one.holds]
    told = failed or [one.text for one in found[:_LISTED]]
    left = len(found) - len(told)
    more = f"; and {left} more that hold" if left else ""
    return Check(claim=claim, holds=not failed, detail="; ".join(told) + more)


def _pgd_and_fgsm(outcomes: Sequence[Outcome]) -> Iterator[_Finding]:
    for pgd in _of(outcomes, Threat.GRAY_BOX, PGD):
        for fgsm in _of(outcomes, Threat.GRAY_BOX, FGSM):
            if _same_size(pgd, fgsm):
                yield _no_more(pgd, fgsm, _raw_right, tolerated=0)


def _larger_epsilon(outcomes: Sequence[Outcome]) -> Iterator[_Finding]:
    sized = [outcome for outcome in outcomes if outcome.case.epsilon is not None]
    sized.sort(key=lambda outcome: outcome.case.epsilon or 0.0)
    kinds = dict.fromkeys((one.case.threat, one.case.family, one.case.norm) for one in sized)
    for kind in kinds:
        members = [one for one in sized if (one.case.threat, one.case.family, one.case.norm) == kind]
        # What the attacker aimed at: the network, or (T3, T4) the whole defence.
        right = _right if kind[0] in (Threat.QUERY, Threat.ADAPTIVE) else _raw_right
        for smaller, larger in pairwise(members):
            if not _same_size(smaller, larger):
                yield _no_more(larger, smaller, right, tolerated=_TOLERATED_IMAGES)


def _large_epsilon(outcomes: Sequence[Outcome], classes: int) -> Iterator[_Finding]:
    for pgd in _of(outcomes, Threat.GRAY_BOX, PGD):
        epsilon = pgd.case.epsilon
        if epsilon is not None and (epsilon > LARGE_EPSILON or math.isclose(epsilon, LARGE_EPSILON)):
            left = int(pgd.raw_right.sum())
            yield _Finding(left * classes <= len(pgd), f"{pgd.case.name} leaves {left}/{len(pgd)}")


def _minimum_norm(outcomes: Sequence[Outcome]) -> Iterator[_Finding]:
    for outcome in outcomes:
        case, before = outcome.case, int(outcome.raw_right_before.sum())
        # L0 attacks without ε are left out: most stop at a number of pixels and need not succeed.
        if case.threat is Threat.GRAY_BOX and case.minimum_norm and case.norm is Norm.L2 and before:
            won = int(outcome.successful.sum())
            yield _Finding(100 * won >= _LEAST_PERCENT * before, f"{case.name} succeeds on {won}/{before}")


def _query_and_adaptive(outcomes: Sequence[Outcome]) -> Iterator[_Finding]:
    adaptive = [outcome for outcome in outcomes if outcome.case.threat is Threat.ADAPTIVE]
    for query in (outcome for outcome in outcomes if outcome.case.threat is Threat.QUERY):
        rivals = [outcome for outcome in adaptive if _same_size(query, outcome)]
        if not rivals:
            continue
        count = min(len(outcome) for outcome in (query, *rivals))
        left = int(query.right[:count].sum())
        worst = int(np.all([rival.right[:count] for rival in rivals], axis=0).sum())
        text = f"{query.case.name} leaves {left}/{count}, the adaptive worst case {worst}/{count}"
        yield _Finding(left >= worst, text)


def _agreement(results: Sequence[AttackResult], *, least_percent: int) -> Iterator[_Finding]:
    for result in sorted(results, key=lambda result: result.agreement.value):
        if result.threat is Threat.GRAY_BOX:
            rate = result.agreement
            text = f"{result.name}: {rate.count}/{rate.n}"
            yield _Finding(100 * rate.count >= least_percent * rate.n, text)


def _steps(pair: MoreSteps | None) -> Iterator[_Finding]:
    if pair is not None:
        few, many = pair.accuracy, pair.accuracy_more
        yield _Finding(
            100 * abs(few.count * many.n - many.count * few.n) < few.n * many.n,
            f"{pair.attack}: {pair.steps} steps leave {few.count}/{few.n},"
            f" {pair.more_steps} steps {many.count}/{many.n}",
        )


def _of(outcomes: Sequence[Outcome], threat: Threat, family: str) -> list[Outcome]:
    """The L∞ attacks of a family."""
    return [
        outcome
        for outcome in outcomes
        if outcome.case.threat is threat and outcome.case.family == family and outcome.case.norm is Norm.LINF
    ]


def _same_size(first: Outcome, second: Outcome) -> bool:
    """Whether both attacks have an ε, in the same norm, and it is the same but for rounding."""
    one, other = first.case.epsilon, second.case.epsilon
    if one is None or other is None or first.case.norm is not second.case.norm:
        return False
    return math.isclose(one, other, rel_tol=1e-6)


def _no_more(
    stronger: Outcome, weaker: Outcome, right: Callable[[Outcome], Flags], *, tolerated: int
) -> _Finding:
    """Compare what two attacks leave of the images that both were run on."""
    count = min(len(stronger), len(weaker))
    left, reference = (int(right(outcome)[:count].sum()) for outcome in (stronger, weaker))
    return _Finding(
        left <= reference + tolerated,
        f"{stronger.case.name} leaves {left}/{count}, {weaker.case.name} {reference}/{count}",
    )


def _raw_right(outcome: Outcome) -> Flags:
    return outcome.raw_right


def _right(outcome: Outcome) -> Flags:
    return outcome.right
