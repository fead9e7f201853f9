"""Per-image worst case over attacks: the headline of an evaluation.

An image counts only if it is answered rightly as it is *and* under every attack: whoever may change an image
may also leave it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from nip_export.evaluate.results import WorstCase
from nip_export.evaluate.scoring.outcome import Outcome
from nip_export.evaluate.scoring.paired import share
from nip_export.evaluate.threats import Threat
from nip_runtime.errors import InputError

GROUPS: Final = (
    (Threat.GRAY_BOX,),
    (Threat.GRAY_BOX, Threat.TRANSFER, Threat.QUERY),
    tuple(Threat),
)
"""Groups of threats that are judged together; the last is the headline."""


def worst_case(
    outcomes: Sequence[Outcome], groups: Sequence[Sequence[Threat]] = GROUPS
) -> tuple[WorstCase, ...]:
    """The worst case of each group of threats, of the attacks among `outcomes`.

    A group states the threats that it really holds attacks of; one that holds the same attacks as the group
    before it, or none, is left out. Only images that all attacks of a group were run on are counted.

    Raises:
        InputError: if the attacks were not run on the same images.
    """
    cases: list[WorstCase] = []
    for group in groups:
        members = [outcome for outcome in outcomes if outcome.case.threat in group]
        present = tuple(threat for threat in Threat if any(m.case.threat is threat for m in members))
        if members and all(case.threats != present for case in cases):
            cases.append(_worst(members, present))
    return tuple(cases)


def _worst(members: Sequence[Outcome], threats: tuple[Threat, ...]) -> WorstCase:
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
        attacks=len(members),
        undefended=share(np.all([o.raw_right & o.raw_right_before for o in shared], axis=0)),
        defended=share(np.all([o.right & o.right_before for o in shared], axis=0)),
    )
