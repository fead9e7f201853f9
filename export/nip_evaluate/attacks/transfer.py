"""Transfer attacks (T2): the same crafts on a surrogate of another architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nip_evaluate.terms.threats import AttackCase, Norm, Threat

FAMILIES = ("FGSM", "MI-FGSM", "PGD")


def transfer_cases(cases: Sequence[AttackCase]) -> tuple[AttackCase, ...]:
    """Gray-box cases as transfer attacks, to be run with the surrogate as victim.

    Minimum-norm attacks are left out: what just fools the surrogate is not meant to fool anything else.

    Args:
        cases: FGSM, MI-FGSM and PGD within L∞ are taken: the core ones, or all if none is core.
    """
    fit = [case for case in cases if case.family in FAMILIES and case.norm is Norm.LINF]
    chosen = [case for case in fit if case.core] or fit
    return tuple(on_surrogate(case) for case in chosen)


def on_surrogate(case: AttackCase) -> AttackCase:
    """A gray-box case as it is called when another network is attacked; it no longer counts as core."""
    return replace(
        case,
        name=f"transfer: {case.name}",
        family=f"transfer: {case.family}",
        threat=Threat.TRANSFER,
        settings=f"{case.settings}, on a surrogate",
        core=False,
    )
