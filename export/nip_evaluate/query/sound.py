"""The query attack on recordings (T3): labels alone."""

from __future__ import annotations

from nip_evaluate.attacks.sound import RANGE
from nip_evaluate.query.cases import hop_skip_jump_case
from nip_evaluate.terms.threats import AttackCase

L2_EPSILON = 0.3
"""In full scale; about what 0.005 at every one of 4,000 samples comes to."""


def sound_queries(*, quick: bool = False) -> tuple[AttackCase, ...]:
    """Few recordings; ε in units of [0, 1], of the names in full scale.

    Args:
        quick: fewer queries still.
    """
    steps, recordings = (3, 10) if quick else (10, 20)
    return (hop_skip_jump_case(L2_EPSILON, steps=steps, images=recordings, unit=RANGE, what="recordings"),)
