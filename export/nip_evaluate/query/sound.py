"""The query attack on recordings (T3): labels alone."""

from __future__ import annotations

from nip_evaluate.attacks.sound import RANGE
from nip_evaluate.query.decisions import hop_skip_jump
from nip_evaluate.threats import AttackCase, Norm, Threat

L2_EPSILON = 0.3
"""In full scale; about what 0.005 at every one of 4,000 samples comes to."""


def sound_queries(*, quick: bool = False) -> tuple[AttackCase, ...]:
    """Few recordings; ε in units of [0, 1], of the names in full scale.

    Args:
        quick: fewer queries still.
    """
    steps, recordings = (3, 10) if quick else (10, 20)
    return (
        AttackCase(
            name=f"HopSkipJump L2 {L2_EPSILON:g}",
            family="HopSkipJump",
            threat=Threat.QUERY,
            library="foolbox",
            source="Chen et al. 2020",
            settings=f"L2, labels only, minimum norm, {steps} steps from 100 queries on; recordings that "
            f"need a change beyond {L2_EPSILON:g} count as not attacked",
            norm=Norm.L2,
            epsilon=L2_EPSILON / RANGE,
            images=recordings,
            craft=hop_skip_jump(L2_EPSILON / RANGE, steps),
        ),
    )
