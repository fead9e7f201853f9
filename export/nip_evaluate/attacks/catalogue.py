"""The gray-box attacks (T1): crafted on the undefended network, whose weights the attacker knows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from nip_evaluate.attacks import art_attacks, gradient, minimum_norm, noise
from nip_evaluate.terms.threats import AttackCase, Craft, Norm, Threat, epsilon_name
from nip_runtime.errors import InputError

CORE = (
    "FGSM 8/255",
    "FGSM 25/255",
    "PGD 8/255",
    "PGD 25/255",
    "MI-FGSM 16/255",
    "PGD L2 1.5",
    "C&W κ=0",
    "C&W κ=5",
)
"""What budgets and baselines are compared by; of a family of which other ε leave none of these, all cases."""

NATURAL = (
    "FGSM 8/255",
    "PGD 2/255",
    "PGD 4/255",
    "PGD 8/255",
    "MI-FGSM 8/255",
    "PGD L2 0.5",
    "APGD-DLR 4/255",
    "C&W κ=0",
    "C&W κ=5",
)
"""The same for small natural images, which far smaller changes fool."""

Sweep = tuple[str, tuple[int, ...], str, str, str, Callable[[float], Craft]]

SWEEPS: tuple[Sweep, ...] = (
    ("FGSM", (2, 4, 8, 16, 25, 51), "foolbox", "Goodfellow et al. 2015", "one step of ε", gradient.fgsm),
    (
        "BIM",
        (8,),
        "foolbox",
        "Kurakin et al. 2017",
        f"{gradient.BIM_STEPS} steps of ε/8, no random start",
        gradient.bim,
    ),
    (
        "MI-FGSM",
        (8, 16),
        "foolbox",
        "Dong et al. 2018",
        f"{gradient.MOMENTUM_STEPS} steps of ε/10, momentum 1 over gradient signs, no random start",
        gradient.mi_fgsm,
    ),
    (
        "PGD",
        (2, 4, 8, 16, 25, 51),
        "foolbox",
        "Madry et al. 2018",
        f"{gradient.PGD_STEPS} steps of ε/10, {gradient.PGD_STARTS} random starts",
        gradient.pgd,
    ),
    (
        "APGD-CE",
        (8,),
        "ART",
        "Croce & Hein 2020",
        f"{art_attacks.APGD_STEPS} steps, first of 2 ε, random start, cross entropy",
        partial(art_attacks.apgd, loss="cross_entropy"),
    ),
    (
        "APGD-DLR",
        (4, 8),
        "ART",
        "Croce & Hein 2020",
        f"{art_attacks.APGD_STEPS} steps, first of 2 ε, random start, ratio of logit differences",
        partial(art_attacks.apgd, loss="difference_logits_ratio"),
    ),
    (
        "APGD-T",
        (8,),
        "ART",
        "after Croce & Hein 2020",
        f"{art_attacks.APGD_STEPS} steps towards each of the {art_attacks.APGD_TARGETS} most likely other "
        "classes, first of 2 ε, random start, cross entropy",
        art_attacks.apgd_targeted,
    ),
)
"""Families within L∞: name, default ε in 255ths, library, source, settings, craft."""


def catalogue(*, eps: Sequence[float] | None = None) -> tuple[AttackCase, ...]:
    """All gray-box attacks.

    Args:
        eps: ε of the L∞ families in :data:`SWEEPS` instead of their own, in (0, 1]; the others stay.

    Raises:
        InputError: an ε lies outside (0, 1].
    """
    for epsilon in eps or ():
        if not 0 < epsilon <= 1:
            raise InputError.mismatch(
                expected="every ε in (0, 1], as images are",
                got=f"{epsilon:g}",
                fix="divide an ε on the scale of 0…255 by 255",
            )
    cases = [case for sweep in SWEEPS for case in _sweep(sweep, eps)]
    cases += [*map(_pgd_l2, (0.5, 1.5)), *map(_carlini_wagner, (0, 5, 10, 20)), *_others()]
    core = named_or_family(CORE, cases)
    return tuple(replace(case, core=case.name in core) for case in cases)


def named_or_family(names: Collection[str], cases: Sequence[AttackCase]) -> set[str]:
    """Which of the names there are, and for a name that other ε replaced, all of its family."""
    found = {case.name for case in cases if case.name in names}
    kept = {case.family for case in cases if case.name in found}
    lost = {name.rpartition(" ")[0] for name in names if name not in found} - kept
    return found | {case.name for case in cases if case.family in lost}


def _sweep(sweep: Sweep, eps: Sequence[float] | None) -> list[AttackCase]:
    family, defaults, library, source, settings, make = sweep
    # Sorted and each once: names must be unique.
    epsilons = sorted(set(eps)) if eps else [parts / 255 for parts in defaults]
    return [
        AttackCase(
            name=f"{family} {epsilon_name(epsilon)}",
            family=family,
            threat=Threat.GRAY_BOX,
            library=library,
            source=source,
            settings=f"L∞, {settings}",
            norm=Norm.LINF,
            epsilon=epsilon,
            craft=make(epsilon),
        )
        for epsilon in epsilons
    ]


def _pgd_l2(epsilon: float) -> AttackCase:
    return AttackCase(
        name=f"PGD L2 {epsilon:g}",
        family="PGD L2",
        threat=Threat.GRAY_BOX,
        library="foolbox",
        source="Madry et al. 2018",
        settings=f"L2, {gradient.PGD_STEPS} steps of ε/10, {gradient.PGD_STARTS} random starts",
        norm=Norm.L2,
        epsilon=epsilon,
        craft=gradient.pgd_l2(epsilon),
    )


def _carlini_wagner(confidence: int) -> AttackCase:
    steps = f"{minimum_norm.CW_SEARCHES} × {minimum_norm.cw_steps(confidence)} steps"
    return minimum_norm.carlini_wagner_case(
        confidence,
        minimum_norm.carlini_wagner(confidence),
        f"{steps} of {minimum_norm.CW_STEPSIZE}, stopping early",
        images=300 if confidence >= 10 else None,
    )


def _others() -> list[AttackCase]:
    def case(
        name: str,
        library: str,
        source: str,
        settings: str,
        craft: Craft,
        *,
        norm: Norm,
        epsilon: float | None = None,
        images: int | None = None,
    ) -> AttackCase:
        return AttackCase(
            name=name,
            family=name.split(" 25/")[0],
            threat=Threat.GRAY_BOX,
            library=library,
            source=source,
            settings=settings,
            norm=norm,
            epsilon=epsilon,
            images=images,
            craft=craft,
        )

    return [
        case(
            "DeepFool",
            "foolbox",
            "Moosavi-Dezfooli et al. 2016",
            f"L2, minimum norm, up to {minimum_norm.DEEPFOOL_STEPS} steps, "
            f"{minimum_norm.DEEPFOOL_CANDIDATES} most likely classes, overshoot 0.02",
            minimum_norm.deepfool(),
            norm=Norm.L2,
            images=500,
        ),
        case(
            "JSMA",
            "ART",
            "Papernot et al. 2016",
            f"L0, θ = 1, at most {art_attacks.JSMA_SHARE:.1%} of the values, towards the runner-up class",
            art_attacks.jsma(),
            norm=Norm.L0,
            images=200,
        ),
        case(
            "UAP 25/255",
            "ART",
            "after Moosavi-Dezfooli et al. 2017",
            "L∞, one change for all images, learnt with FGSM steps of 2/255 from the first "
            f"{art_attacks.UAP_LEARNT_FROM} in up to {art_attacks.UAP_ROUNDS} rounds",
            art_attacks.universal(25 / 255),
            norm=Norm.LINF,
            epsilon=25 / 255,
        ),
        case(
            "uniform noise 25/255",
            "foolbox",
            "Rauber et al. 2017",
            f"L∞, the first of {noise.NOISE_DRAWS} draws that fools",
            noise.uniform_noise(25 / 255),
            norm=Norm.LINF,
            epsilon=25 / 255,
        ),
        case(
            "Pointwise",
            "foolbox",
            "Schott et al. 2019",
            "L0, minimum norm, from salt and pepper, without the search of values",
            minimum_norm.pointwise(),
            norm=Norm.L0,
            images=100,
        ),
        case(
            "one-pixel",
            "ART",
            "Su et al. 2019",
            f"L0, one pixel, differential evolution, {art_attacks.PIXEL_GENERATIONS} generations of 400",
            art_attacks.one_pixel(),
            norm=Norm.L0,
            images=100,
        ),
    ]
