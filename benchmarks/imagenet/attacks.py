"""The attacks on photographs: small ε, sizes that one core can bear."""

from __future__ import annotations

from dataclasses import replace

import torch
from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import Budget, batched, in_parts, or_clean
from nip_evaluate.attacks.gradient import fgsm, pgd
from nip_evaluate.attacks.transfer import on_surrogate
from nip_evaluate.query.scores import square
from nip_evaluate.terms.threats import AttackCase, Craft, Norm, Threat

CLASSES = 1000
AT_ONCE = 10
"""Photographs in a batch: ten need about 1 GB for a gradient."""
PGD_STEPS = 30
CW_SEARCHES, CW_STEPS, CW_STEPSIZE = 2, 60, 0.02
SQUARE_QUERIES = 400
EVERY = 200
"""All photographs that were held back: what one step takes."""
IMAGES = 100
COSTLY = 50
"""Photographs that C&W and Square take, and several steps on the surrogate."""


def cases(*, transfer: bool = False) -> tuple[AttackCase, ...]:
    """The attacks that count, cheap ones first; or those that are tried on a surrogate."""
    gray = (
        _case(
            "FGSM 4/255",
            "FGSM",
            "one step of ε",
            in_parts(fgsm(4 / 255), AT_ONCE),
            epsilon=4 / 255,
            images=EVERY,
        ),
        *(_pgd(parts) for parts in (4, 2, 8)),
        _case(
            "targeted PGD 4/255",
            "targeted PGD",
            f"{PGD_STEPS} steps of ε/10 towards a class drawn at random, random start",
            in_parts(targeted_pgd(4 / 255), AT_ONCE),
            epsilon=4 / 255,
        ),
        *(_carlini_wagner(confidence) for confidence in (0, 5)),
        _case(
            "Square 8/255",
            "Square",
            f"about {SQUARE_QUERIES} queries of the undefended network",
            in_parts(square(8 / 255, SQUARE_QUERIES), AT_ONCE),
            epsilon=8 / 255,
            library="ART",
            images=COSTLY,
        ),
    )
    if not transfer:
        return gray
    counts = {"FGSM 4/255": EVERY, "PGD 4/255": COSTLY}
    tried = [case for case in gray if case.name in counts]
    return tuple(replace(on_surrogate(case), images=counts[case.name]) for case in tried)


def targeted_pgd(epsilon: float) -> Craft:
    """PGD towards a class that is drawn at random, never the true one."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        aims = (truth + torch.randint(1, CLASSES, truth.shape)) % CLASSES
        search = LinfProjectedGradientDescentAttack(steps=PGD_STEPS, rel_stepsize=0.1, random_start=True)
        model = PyTorchModel(victim, bounds=(0, 1), device="cpu")
        _, found, _ = search(model, clean, TargetedMisclassification(aims), epsilons=epsilon)
        attacked: Tensor = found
        return attacked

    return batched(attack, budget=Budget(Norm.LINF, epsilon), spare=False)


def carlini_wagner(confidence: float) -> Craft:
    """C&W in L2 with steps that suit photographs: another class leads by κ = `confidence`."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        search = L2CarliniWagnerAttack(
            binary_search_steps=CW_SEARCHES,
            steps=CW_STEPS,
            stepsize=CW_STEPSIZE,
            confidence=confidence,
            initial_const=1.0,
            abort_early=True,
        )
        model = PyTorchModel(victim, bounds=(0, 1), device="cpu")
        attacked: Tensor = search.run(model, clean, Misclassification(truth))
        return or_clean(attacked, clean, attacked.flatten(1).amax(1) > 0)

    return batched(attack, budget=None, spare=True)


def _pgd(parts: int) -> AttackCase:
    craft = in_parts(pgd(parts / 255, steps=PGD_STEPS), AT_ONCE)
    return _case(
        f"PGD {parts}/255",
        "PGD",
        f"{PGD_STEPS} steps of ε/10, up to 3 random starts",
        craft,
        epsilon=parts / 255,
    )


def _carlini_wagner(confidence: int) -> AttackCase:
    return _case(
        f"C&W κ={confidence}",
        "C&W",
        f"L2, minimum norm, κ = {confidence}, {CW_SEARCHES} × {CW_STEPS} steps of {CW_STEPSIZE}",
        in_parts(carlini_wagner(confidence), AT_ONCE),
        norm=Norm.L2,
        confidence=float(confidence),
        images=COSTLY,
    )


def _case(
    name: str,
    family: str,
    settings: str,
    craft: Craft,
    *,
    epsilon: float | None = None,
    norm: Norm = Norm.LINF,
    confidence: float | None = None,
    library: str = "foolbox",
    images: int = IMAGES,
) -> AttackCase:
    sources = {
        "FGSM": "Goodfellow et al. 2015",
        "C&W": "Carlini & Wagner 2017",
        "Square": "Andriushchenko et al. 2020",
    }
    return AttackCase(
        name=name,
        family=family,
        threat=Threat.GRAY_BOX,
        library=library,
        source=sources.get(family, "Madry et al. 2018"),
        settings=settings,
        norm=norm,
        epsilon=epsilon,
        confidence=confidence,
        images=images,
        core=True,
        craft=craft,
    )
