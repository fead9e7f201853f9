"""The gray-box attacks on recordings: the same families, far smaller changes.

ε is stated in full scale, whose range from −1 to 1 is 2: crafts work on [0, 1] and get half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from nip_evaluate.attacks import art_attacks, gradient, minimum_norm, noise
from nip_evaluate.terms.threats import AttackCase, Craft, Norm, Threat

EPSILONS = (0.0005, 0.001, 0.002, 0.005)
"""−66 to −46 dB of full scale."""
USUAL_EPSILON = 0.002
ADAPTIVE_EPSILONS = (0.0005, 0.002)
UNIVERSAL_EPSILON = 0.005
CORE = (
    "FGSM 0.002",
    "PGD 0.0005",
    "PGD 0.001",
    "PGD 0.002",
    "PGD 0.005",
    "MI-FGSM 0.002",
    "C&W κ=0",
    "C&W κ=5",
    "UAP 0.005",
)
"""What counts in the mean DSR: fixed before anything was attacked."""
RANGE = 2
"""Of full scale."""
CW_STEPS, CW_STEPSIZE, CW_CONST = 100, 0.0003, 0.01
"""A step of 0.07, as on images, is louder than the recordings."""

_FAMILIES: tuple[tuple[str, str, str, Callable[[float], Craft]], ...] = (
    ("FGSM", "Goodfellow et al. 2015", "one step of ε", gradient.fgsm),
    (
        "MI-FGSM",
        "Dong et al. 2018",
        f"{gradient.MOMENTUM_STEPS} steps of ε/10, momentum 1 over gradient signs, no random start",
        gradient.mi_fgsm,
    ),
    (
        "PGD",
        "Madry et al. 2018",
        f"{gradient.PGD_STEPS} steps of ε/10, {gradient.PGD_STARTS} random starts",
        gradient.pgd,
    ),
)


def sound_catalogue(*, eps: Sequence[float] | None = None) -> tuple[AttackCase, ...]:
    """All gray-box attacks on recordings; ε of the cases in units of [0, 1], of their names in full scale.

    Args:
        eps: ε of FGSM, MI-FGSM and PGD in full scale instead of their own, in (0, 1].
    """
    own: dict[str, Sequence[float]] = {"MI-FGSM": (USUAL_EPSILON,)}
    cases = [
        _case(f"{family} {epsilon:g}", family, f"L∞, {settings}", make(epsilon / RANGE), source, epsilon)
        for family, source, settings, make in _FAMILIES
        for epsilon in sorted(set(eps if eps else own.get(family, EPSILONS)))
    ]
    universal = UNIVERSAL_EPSILON / RANGE
    cases += [
        *map(_carlini_wagner, (0, 5)),
        _case(
            f"UAP {UNIVERSAL_EPSILON:g}",
            "UAP",
            "L∞, one change for all recordings, learnt with small FGSM steps from the first "
            f"{art_attacks.UAP_LEARNT_FROM} in up to {art_attacks.UAP_ROUNDS} rounds",
            art_attacks.universal(universal),
            "after Moosavi-Dezfooli et al. 2017",
            UNIVERSAL_EPSILON,
            library="ART",
        ),
        _case(
            f"uniform noise {UNIVERSAL_EPSILON:g}",
            "uniform noise",
            f"L∞, the first of {noise.NOISE_DRAWS} draws that fools",
            noise.uniform_noise(universal),
            "Rauber et al. 2017",
            UNIVERSAL_EPSILON,
        ),
    ]
    return tuple(cases)


def _carlini_wagner(confidence: int) -> AttackCase:
    craft = minimum_norm.carlini_wagner(confidence, steps=CW_STEPS, stepsize=CW_STEPSIZE, const=CW_CONST)
    steps = f"{minimum_norm.CW_SEARCHES} × {CW_STEPS} steps of {CW_STEPSIZE}"
    case = minimum_norm.carlini_wagner_case(
        confidence, craft, f"{steps}, first constant {CW_CONST}, stopping early"
    )
    return replace(case, core=case.name in CORE)


def _case(
    name: str, family: str, settings: str, craft: Craft, source: str, epsilon: float, library: str = "foolbox"
) -> AttackCase:
    replaced = library == "foolbox" and epsilon not in EPSILONS
    return AttackCase(
        name=name,
        family=family,
        threat=Threat.GRAY_BOX,
        library=library,
        source=source,
        settings=settings,
        norm=Norm.LINF,
        epsilon=epsilon / RANGE,
        core=name in CORE or replaced,
        craft=craft,
    )
