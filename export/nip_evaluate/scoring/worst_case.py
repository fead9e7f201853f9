"""Per-image worst case over attacks: the headline of an evaluation.

An image counts only if it is answered rightly as it is *and* under every attack: whoever may change an image
may also leave it alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from nip_evaluate.scoring.outcome import Outcome
from nip_evaluate.scoring.paired import share
from nip_evaluate.terms.results import WorstCase
from nip_evaluate.terms.threats import Norm, Threat
from nip_runtime.errors import InputError

GROUPS: Final = (
    *((threat,) for threat in Threat),
    (Threat.GRAY_BOX, Threat.TRANSFER, Threat.QUERY),
    tuple(Threat),
)
"""Groups of threats that are judged together; the last is the headline."""
_SLACK: Final = 1e-9
USUAL_EPSILON: Final = 8 / 255
"""What attacks are compared at where nobody attacked adaptively."""


def worst_cases(outcomes: Sequence[Outcome]) -> tuple[WorstCase, ...]:
    """The worst case of each group of threats: at every ε of the adaptive attacks, then over all attacks.

    Unbounded attacks and huge ε bring everything to nothing; a share says something only beside its ε.
    """
    adaptive = {o.case.epsilon for o in outcomes if o.case.threat is Threat.ADAPTIVE and _within(o, math.inf)}
    sizes = sorted(size for size in adaptive if size is not None) or [USUAL_EPSILON]
    cases: list[WorstCase] = []
    for epsilon in (*sizes, None):
        cases += worst_case(outcomes, epsilon=epsilon)
    return tuple(cases)


def worst_case(
    outcomes: Sequence[Outcome],
    groups: Sequence[Sequence[Threat]] = GROUPS,
    *,
    epsilon: float | None = None,
) -> tuple[WorstCase, ...]:
    """The worst case of each group of threats, of the attacks among `outcomes`.

    A group states the threats that it really holds attacks of; one that holds the same attacks as a group
    before it, or none, is left out. Only images that all attacks of a group were run on are counted.

    Args:
        outcomes: of the file.
        groups: threats judged together.
        epsilon: count only attacks within L∞ of this size; None: all.

    Raises:
        InputError: if the attacks were not run on the same images.
    """
    counted = outcomes if epsilon is None else [o for o in outcomes if _within(o, epsilon)]
    cases: list[WorstCase] = []
    for group in groups:
        members = [outcome for outcome in counted if outcome.case.threat in group]
        present = tuple(threat for threat in Threat if any(m.case.threat is threat for m in members))
        if members and all(case.threats != present for case in cases):
            cases.append(_worst(members, present, epsilon))
    return tuple(cases)


def _within(outcome: Outcome, epsilon: float) -> bool:
    size = outcome.case.epsilon
    return outcome.case.norm is Norm.LINF and size is not None and size <= epsilon + _SLACK


def _worst(members: Sequence[Outcome], threats: tuple[Threat, ...], epsilon: float | None) -> WorstCase:
    count = min(len(outcome) for outcome in members)
    shared = [outcome.first(count) for outcome in members]
    if any(not np.array_equal(outcome.truth, shared[0].truth) for outcome in shared):
        raise InputError.mismatch(
            expected="attacks on the first of the same images",
            got="other true classes",
            fix="attack the same images in the same order",
        )
    return WorstCase(
        threats=threats,
        epsilon=epsilon,
        attacks=len(members),
        undefended=share(np.all([o.raw_right & o.raw_right_before for o in shared], axis=0)),
        defended=share(np.all([o.right & o.right_before for o in shared], axis=0)),
    )
