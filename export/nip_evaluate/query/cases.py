"""The query attacks (T3): crafted from answers of the deployed file alone."""

from __future__ import annotations

from nip_evaluate.query.decisions import boundary, hop_skip_jump
from nip_evaluate.query.scores import square
from nip_evaluate.terms.threats import AttackCase, Norm, Threat, epsilon_name

EPSILON_L2 = 1.5
"""As "PGD L2 1.5", to compare with."""


def query_cases(*, quick: bool = False) -> tuple[AttackCase, ...]:
    """All query attacks, to be run with a :class:`DeployedModule` as victim.

    Args:
        quick: two of them, with fewer queries on fewer images.
    """
    if quick:
        return _square(8 / 255, queries=200, images=50), hop_skip_jump_case(EPSILON_L2, steps=3, images=20)
    return (
        _square(8 / 255, queries=1000, images=200),
        _square(25 / 255, queries=1000, images=200),
        hop_skip_jump_case(EPSILON_L2, steps=18, images=100),
        _boundary(steps=5000, images=50),
    )


def _square(epsilon: float, *, queries: int, images: int) -> AttackCase:
    return AttackCase(
        name=f"Square {epsilon_name(epsilon)}",
        family="Square",
        threat=Threat.QUERY,
        library="ART",
        source="Andriushchenko et al. 2020",
        settings=f"L∞, scores, up to {queries} queries an image, p = 0.8",
        norm=Norm.LINF,
        epsilon=epsilon,
        images=images,
        craft=square(epsilon, queries),
    )


def hop_skip_jump_case(
    epsilon: float, *, steps: int, images: int, unit: float = 1.0, what: str = "images"
) -> AttackCase:
    """HopSkipJump as an entry of a catalogue.

    Args:
        epsilon: largest L2 change, as the name spells it.
        steps: of the attack.
        images: as of the case.
        unit: what the range of inputs is in units of ``epsilon``; crafts work on [0, 1].
        what: is attacked.
    """
    return AttackCase(
        name=f"HopSkipJump L2 {epsilon:g}",
        family="HopSkipJump",
        threat=Threat.QUERY,
        library="foolbox",
        source="Chen et al. 2020",
        settings=f"L2, labels only, minimum norm, {steps} steps from 100 queries on; "
        f"{_not_attacked(epsilon, what)}",
        norm=Norm.L2,
        epsilon=epsilon / unit,
        images=images,
        craft=hop_skip_jump(epsilon / unit, steps),
    )


def _boundary(*, steps: int, images: int) -> AttackCase:
    return AttackCase(
        name=f"Boundary L2 {EPSILON_L2:g}",
        family="Boundary",
        threat=Threat.QUERY,
        library="foolbox",
        source="Brendel et al. 2018",
        settings=f"L2, labels only, minimum norm, {steps} steps; {_not_attacked(EPSILON_L2, 'images')}",
        norm=Norm.L2,
        epsilon=EPSILON_L2,
        images=images,
        craft=boundary(EPSILON_L2, steps),
    )


def _not_attacked(epsilon: float, what: str) -> str:
    return f"{what} that need a change beyond {epsilon:g} count as not attacked"
