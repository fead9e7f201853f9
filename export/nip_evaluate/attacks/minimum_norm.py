"""Attacks that look for the smallest change that fools: foolbox's C&W, DeepFool and Pointwise.

With κ = 0 they stop just past the decision boundary, DeepFool so close that rounding to 8 bits undoes most of
it: nothing that a defence does about those says much, which is why C&W is listed with growing κ too.
Images on which an attack fails stay as they are.
"""

from __future__ import annotations

from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
from foolbox.attacks.deepfool import L2DeepFoolAttack
from foolbox.attacks.pointwise import PointwiseAttack
from foolbox.attacks.saltandpepper import SaltAndPepperNoiseAttack
from foolbox.criteria import Misclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import batched, misclassified, or_clean
from nip_evaluate.terms.threats import AttackCase, Craft, Norm, Threat

CW_SEARCHES = 5
CW_STEPS = 75
CW_STEPS_CONFIDENT = 150
"""For κ ≥ 10: fewer steps leave more images short of the margin."""
CW_STEPSIZE = 0.07
CW_CONST = 1.0
DEEPFOOL_STEPS = 50
DEEPFOOL_CANDIDATES = 5


def carlini_wagner(
    confidence: float, *, steps: int | None = None, stepsize: float = CW_STEPSIZE, const: float = CW_CONST
) -> Craft:
    """C&W in L2: another class leads by at least κ = `confidence` in logits (Carlini & Wagner 2017).

    `steps` is by default :func:`cw_steps`.
    """

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        search = L2CarliniWagnerAttack(
            binary_search_steps=CW_SEARCHES,
            steps=cw_steps(confidence) if steps is None else steps,
            stepsize=stepsize,
            confidence=confidence,
            initial_const=const,
            abort_early=True,
        )
        attacked: Tensor = search.run(_model(victim), clean, Misclassification(truth))
        # foolbox returns an all-zero image where it found none, which may well be misclassified too.
        return or_clean(attacked, clean, attacked.flatten(1).amax(1) > 0)

    return batched(attack, budget=None, spare=True)


def cw_steps(confidence: float) -> int:
    """Steps of one search for a margin κ."""
    return CW_STEPS_CONFIDENT if confidence >= 10 else CW_STEPS


def deepfool() -> Craft:
    """Steps to the nearest linearised boundary, overshoot 0.02 (Moosavi-Dezfooli et al. 2016)."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        search = L2DeepFoolAttack(steps=DEEPFOOL_STEPS, candidates=DEEPFOOL_CANDIDATES, overshoot=0.02)
        attacked: Tensor = search.run(_model(victim), clean, Misclassification(truth))
        return or_clean(attacked, clean, misclassified(victim, attacked, truth))

    return batched(attack, budget=None, spare=True)


def pointwise() -> Craft:
    """Takes back, value by value, what salt and pepper changed (Schott et al. 2019)."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        model, criterion = _model(victim), Misclassification(truth)
        noisy: Tensor = SaltAndPepperNoiseAttack(steps=100).run(model, clean, criterion)
        started = misclassified(victim, noisy, truth)
        attacked = clean.clone()
        if started.any():
            attacked[started] = PointwiseAttack(l2_binary_search=False).run(
                model, clean[started], Misclassification(truth[started]), starting_points=noisy[started]
            )
        return or_clean(attacked, clean, misclassified(victim, attacked, truth))

    return batched(attack, budget=None, spare=True)


def _model(victim: nn.Module) -> PyTorchModel:
    return PyTorchModel(victim, bounds=(0, 1), device="cpu")


def carlini_wagner_case(
    confidence: int, craft: Craft, search: str, *, images: int | None = None
) -> AttackCase:
    """C&W as an entry of a catalogue.

    Args:
        confidence: κ.
        craft: made by :func:`carlini_wagner`.
        search: its numbers, in words.
        images: as of the case.
    """
    return AttackCase(
        name=f"C&W κ={confidence}",
        family="C&W",
        threat=Threat.GRAY_BOX,
        library="foolbox",
        source="Carlini & Wagner 2017",
        settings=f"L2, minimum norm, κ = {confidence}, {search}",
        norm=Norm.L2,
        epsilon=None,
        confidence=float(confidence),
        images=images,
        craft=craft,
    )
