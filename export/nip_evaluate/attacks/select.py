"""Which attacks to run: by name, by family or by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nip_evaluate.attacks.catalogue import NATURAL, named_or_family
from nip_evaluate.terms.threats import AttackCase
from nip_runtime.errors import InputError

QUICK: dict[str, int | None] = {
    "FGSM 8/255": None,
    "PGD 8/255": None,
    "PGD 25/255": None,
    "MI-FGSM 16/255": None,
    "C&W κ=0": 50,
}
"""The group "quick" and how many images each of its cases attacks at most (None: as many as ever)."""

GROUPS = ("core", "natural", "quick", "all")


def select(names: Sequence[str], cases: Sequence[AttackCase]) -> tuple[AttackCase, ...]:
    """The cases that are named, in the order of `cases`, each once.

    Args:
        names: names of cases, families, or the groups "core", "natural", "quick" and "all"; case does not
            matter. With "natural", its cases count in the mean DSR, and no others do.
            What "quick" names attacks fewer images, unless it is also named otherwise.
        cases: to choose from.

    Raises:
        InputError: a name that is none of these, or none at all.
    """
    chosen: dict[str, AttackCase] = {}
    for name in names:
        found = _named(name.strip(), cases)
        if not found:
            raise InputError.mismatch(
                expected=f"an attack among {_offer(cases)}", got=repr(name), fix="check the spelling"
            )
        for case in found:
            before = chosen.get(case.name)
            chosen[case.name] = case if before is None else _larger(before, case)
    if not chosen:
        raise InputError.mismatch(
            expected=f"one attack or more among {_offer(cases)}", got="none", fix="name one"
        )
    counted = NATURAL if any(name.strip().lower() == "natural" for name in names) else None
    taken = (chosen[case.name] for case in cases if case.name in chosen)
    return tuple(case if counted is None else replace(case, core=case.name in counted) for case in taken)


def _named(name: str, cases: Sequence[AttackCase]) -> list[AttackCase]:
    match name.lower():
        case "all":
            return list(cases)
        case "core":
            return [case for case in cases if case.core]
        case "natural":
            natural = named_or_family(NATURAL, cases)
            return [case for case in cases if case.name in natural]
        case "quick":
            quick = named_or_family(QUICK, cases)
            return [_capped(case, QUICK.get(case.name)) for case in cases if case.name in quick]
        case lower:
            return [case for case in cases if lower in (case.name.lower(), case.family.lower())]


def _capped(case: AttackCase, images: int | None) -> AttackCase:
    return case if images is None else replace(case, images=min(images, case.images or images))


def _larger(first: AttackCase, second: AttackCase) -> AttackCase:
    if first.images is None or second.images is None:
        return first if first.images is None else second
    return max(first, second, key=lambda case: case.images or 0)


def _offer(cases: Sequence[AttackCase]) -> str:
    families = dict.fromkeys(case.family for case in cases)
    names = (case.name for case in cases if case.name not in families)
    return ", ".join([*GROUPS, *families, *names])
