"""What the numbers say, worked out from them and put into words, whichever way they went."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nip_evaluate.terms.results import AttackResult, BaselineResult, Evaluation, InfluenceGroups, WorstCase
from nip_evaluate.terms.threats import Norm, Threat

SIGNIFICANT = 0.05
HELPFUL_DSR = 0.1
"""Below this share of corrected successes the defence is said not to help, however sure the difference is."""
UNMOVED = 1e-6
"""Differences of mean influence, in logits, below which nothing happened."""
NOTICEABLE = 0.005
"""Share of a gap that prints as 1 %."""


def headline(evaluation: Evaluation) -> WorstCase | None:
    """The worst case over the most threat models, at the smallest ε that it was worked out for."""
    return min(evaluation.worst_case, key=lambda worst: (-len(worst.threats), _size(worst)), default=None)


def worst_of(evaluation: Evaluation, threat: Threat) -> WorstCase | None:
    """The worst case within one threat model, if it was worked out, at its smallest ε."""
    found = [worst for worst in evaluation.worst_case if worst.threats == (threat,)]
    return min(found, key=_size, default=None)


def within_text(worst: WorstCase) -> str:
    """Which attacks a worst case counts: "within L∞ 8/255", or "of any size"."""
    return "of any size" if worst.epsilon is None else f"within L∞ {epsilon_text(worst.epsilon, Norm.LINF)}"


def _size(worst: WorstCase) -> float:
    return math.inf if worst.epsilon is None else worst.epsilon


def threats_text(threats: Iterable[Threat]) -> str:
    """Such as "T1–T4", or "T1, T3"."""
    names = sorted(threats)
    return "T1–T4" if len(names) == 4 else ", ".join(names)


def adaptive_text(evaluation: Evaluation) -> str:
    """What attackers who know the defence leave of it, in one or two sentences."""
    attacks = [attack for attack in evaluation.attacks if attack.threat is Threat.ADAPTIVE]
    if not attacks:
        return (
            "Attackers who know the defence (T4) were not part of this run. Anybody who has the file can "
            "differentiate through all of it: expect accuracy near that of the undefended network."
        )
    worst = worst_of(evaluation, Threat.ADAPTIVE)
    if worst is None:
        rate = min((attack.defended for attack in attacks), key=lambda defended: defended.value)
        what = "the strongest single attack"
    else:
        rate, what = worst.defended, f"the worst of {worst.attacks} attacks {within_text(worst)} per image"
    low, high = rate.interval
    lost = evaluation.benign.defended.value - rate.value
    return (
        f"Attackers who know the defence (T4) leave {rate.value:.1%} [{low:.1%}, {high:.1%}] of answers "
        f"right on {rate.n} images ({what}), {100 * lost:.1f} points below the benign accuracy. An attack "
        "nobody has tried yet may leave less."
    )


@dataclass(frozen=True)
class Reach:
    """Up to which size of an attack family the defence helps.

    Attributes:
        family: the attack without its size.
        largest: the largest size at which it helps; None if it helps at none.
        next_size: the smallest size tested beyond that; None if there is none.
        gaps: smaller sizes at which it does not help.
    """

    family: str
    largest: float | None
    next_size: float | None
    gaps: tuple[float, ...]


def helps(attack: AttackResult) -> bool:
    """Whether the defence answers more attacked images rightly than the network does, by McNemar's test at
    p < 0.05, and undoes at least a tenth of the attack's successes."""
    gained = attack.gain.only_first > attack.gain.only_second and attack.gain.p_value < SIGNIFICANT
    return gained and attack.dsr is not None and attack.dsr.value >= HELPFUL_DSR


def reaches(attacks: Iterable[AttackResult], *, by_confidence: bool = False) -> tuple[Reach, ...]:
    """The point where the defence stops helping, per family, over ε (L∞) or over the confidence κ.

    Only families tested at two sizes or more have one.
    """
    families: dict[str, dict[float, bool]] = {}
    for attack in attacks:
        size = attack.confidence if by_confidence else attack.epsilon
        if size is not None and (by_confidence or attack.norm is Norm.LINF):
            families.setdefault(attack.family, {})[size] = helps(attack)
    return tuple(_reach(name, sizes) for name, sizes in families.items() if len(sizes) > 1)


def _reach(family: str, sizes: dict[float, bool]) -> Reach:
    largest = max((size for size, helped in sizes.items() if helped), default=None)
    if largest is None:
        return Reach(family, None, min(sizes), ())
    beyond = min((size for size in sizes if size > largest), default=None)
    gaps = tuple(sorted(size for size, helped in sizes.items() if size < largest and not helped))
    return Reach(family, largest, beyond, gaps)


def reach_text(reach: Reach, *, by_confidence: bool = False) -> str:
    """One sentence for people."""
    name = "κ" if by_confidence else "ε"

    def text(size: float) -> str:
        return f"{name} = {size:g}" if by_confidence else f"{name} = {epsilon_text(size, Norm.LINF)}"

    if reach.largest is None:
        return f"{reach.family}: helps at no {name} tested."
    skipped = f" (but not at {', '.join(map(text, reach.gaps))})" if reach.gaps else ""
    if reach.next_size is None:
        return f"{reach.family}: helps up to the largest size tested, {text(reach.largest)}{skipped}."
    return (
        f"{reach.family}: helps up to {text(reach.largest)}{skipped}; no longer at {text(reach.next_size)}."
    )


def epsilon_text(epsilon: float | None, norm: Norm) -> str:
    """Such as "8/255" for L∞, "1.5" otherwise, "–" for a minimum-norm attack."""
    if epsilon is None:
        return "–"
    steps = epsilon * 255
    if norm is Norm.LINF and abs(steps - round(steps)) < 1e-3:
        return f"{round(steps)}/255"
    return f"{epsilon:.3g}"


class Standing(StrEnum):
    """How a baseline compares with the file in mean DSR."""

    BEHIND = "behind"
    TIED = "tied"
    AHEAD = "ahead"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """The reading of one baseline's row; `wins` names the attacks on which the baseline is ahead."""

    standing: Standing
    text: str
    wins: tuple[str, ...]


def verdict(baseline: BaselineResult, *, file_cost: float) -> Verdict:
    """Say plainly whether the file is better than a baseline.

    Args:
        baseline: its numbers.
        file_cost: benign accuracy that the file gives up, a share.
    """
    wins = tuple(
        attack.name
        for attack in baseline.attacks
        if attack.against_file is not None
        and attack.against_file.only_second > attack.against_file.only_first
        and attack.against_file.p_value < SIGNIFICANT
    )
    if baseline.lead is None:
        return Verdict(Standing.UNKNOWN, "not compared: no core attack succeeded", wins)
    if baseline.lead.low > 0:
        cheaper = baseline.benign.cost.value < file_cost
        text = "the file is ahead" + (", but gives up more benign accuracy" if cheaper else "")
        return Verdict(Standing.BEHIND, text, wins)
    if baseline.lead.high < 0:
        return Verdict(Standing.AHEAD, f"not better than {baseline.name}, which is ahead", wins)
    return Verdict(Standing.TIED, f"not better than {baseline.name}: cannot be told apart", wins)


def influence_findings(groups: InfluenceGroups) -> tuple[str, ...]:
    """What happened to front, middle and tail neurons, one sentence each."""
    lines = []
    measured = zip(groups.benign, groups.attacked, groups.defended, strict=True)
    for name, (before, after, restored) in zip(("front", "middle", "tail"), measured, strict=True):
        values = f"mean influence {_signed(before.value)} → {_signed(after.value)}"
        gap = abs(after.value - before.value)
        if gap < UNMOVED:
            lines.append(f"{name} neurons: left as they were by the attack, {values}.")
            continue
        # By magnitude: a tail neuron that the attack enhances weighs more *against* the true class.
        moved = "enhanced" if abs(after.value) > abs(before.value) else "suppressed"
        closed = 1 - abs(restored.value - before.value) / gap
        if abs(closed) < NOTICEABLE:
            answer = "the second look did not move it"
        elif closed > 0:
            answer = f"the second look closed {closed:.0%} of the gap"
        else:
            answer = f"the second look widened the gap by {-closed:.0%}"
        lines.append(
            f"{name} neurons: {moved} by the attack, {values}; {answer} (→ {_signed(restored.value)})."
        )
    return tuple(lines)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
