"""Attacks that follow the gradient within a budget ε: foolbox's FGSM, BIM, MI-FGSM and PGD.

foolbox's own defaults for PGD (40 steps of ε/30) travel 1.33 ε in all and stop short of the strongest point;
50 steps of ε/10 with restarts do not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from foolbox.attacks.base import FixedEpsilonAttack
from foolbox.attacks.basic_iterative_method import LinfBasicIterativeAttack
from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack
from foolbox.attacks.mi_fgsm import LinfMomentumIterativeFastGradientMethod
from foolbox.attacks.projected_gradient_descent import (
    L2ProjectedGradientDescentAttack,
    LinfProjectedGradientDescentAttack,
)
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import Budget, batched, misclassified
from nip_evaluate.terms.threats import Craft, Norm

PGD_STEPS = 50
PGD_STARTS = 3
MOMENTUM_STEPS = 20
BIM_STEPS = 20


def fgsm(epsilon: float) -> Craft:
    """One step of ε along the gradient's sign (Goodfellow et al. 2015)."""
    return _follow(lambda: LinfFastGradientAttack(random_start=False), Budget(Norm.LINF, epsilon))


def bim(epsilon: float) -> Craft:
    """PGD from the image itself (Kurakin et al. 2017)."""
    return _follow(
        lambda: LinfBasicIterativeAttack(steps=BIM_STEPS, rel_stepsize=0.125, random_start=False),
        Budget(Norm.LINF, epsilon),
    )


def mi_fgsm(epsilon: float) -> Craft:
    """BIM with momentum (Dong et al. 2018)."""
    return _follow(
        lambda: LinfMomentumIterativeFastGradientMethod(
            momentum=1.0, steps=MOMENTUM_STEPS, rel_stepsize=0.1, random_start=False
        ),
        Budget(Norm.LINF, epsilon),
    )


def pgd(epsilon: float, *, steps: int = PGD_STEPS) -> Craft:
    """Projected gradient descent from random starts within L∞ (Madry et al. 2018)."""
    return _follow(
        lambda: LinfProjectedGradientDescentAttack(steps=steps, rel_stepsize=0.1, random_start=True),
        Budget(Norm.LINF, epsilon),
        starts=PGD_STARTS,
    )


def pgd_l2(epsilon: float) -> Craft:
    """Projected gradient descent from random starts within L2 (Madry et al. 2018)."""
    return _follow(
        lambda: L2ProjectedGradientDescentAttack(steps=PGD_STEPS, rel_stepsize=0.1, random_start=True),
        Budget(Norm.L2, epsilon),
        starts=PGD_STARTS,
    )


def _follow(make: Callable[[], FixedEpsilonAttack], budget: Budget, *, starts: int = 1) -> Craft:
    """Starts after the first are spent on images that are still classified rightly."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        model = PyTorchModel(victim, bounds=(0, 1), device="cpu")
        attacked = clean.clone()
        left = torch.ones(len(clean), dtype=torch.bool)
        for start in range(starts):
            _, found, _ = make()(model, clean[left], truth[left], epsilons=budget.epsilon)
            attacked[left] = found
            if start + 1 < starts:
                left = ~misclassified(victim, attacked, truth)
                if not left.any():
                    break
        return attacked

    return batched(attack, budget=budget, spare=False)
