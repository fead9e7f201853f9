"""Attacks that see only the labels of the deployed file: foolbox's HopSkipJump and Boundary.

Both look for the smallest change; to compare with attacks within a budget ε, an image whose change is still
larger than ε at the end counts as not attacked and stays as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from foolbox.attacks.base import MinimizationAttack
from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack
from foolbox.attacks.boundary_attack import BoundaryAttack
from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
from foolbox.criteria import Misclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import Budget, batched, misclassified, or_clean
from nip_evaluate.terms.threats import Craft, Norm

ROWS = 25
"""Images attacked together: HopSkipJump keeps hundreds of neighbours of each in memory."""
NOISE_DRAWS = 20


def hop_skip_jump(epsilon: float, steps: int) -> Craft:
    """Estimates the boundary's normal from labels (Chen et al. 2020); about 67 · steps^1.5 queries."""
    return _within(lambda: HopSkipJumpAttack(steps=steps, initial_gradient_eval_steps=100), epsilon)


def boundary(epsilon: float, steps: int) -> Craft:
    """Walks along the boundary (Brendel et al. 2018); about 1.1 queries a step."""
    return _within(lambda: BoundaryAttack(steps=steps), epsilon)


def _within(make: Callable[[], MinimizationAttack], epsilon: float) -> Craft:
    budget = Budget(Norm.L2, epsilon)

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        starts, usable = starting_points(victim, clean, truth)
        attacked = clean.clone()
        if usable.any():
            attacked[usable] = make().run(
                PyTorchModel(victim, bounds=(0, 1), device="cpu"),
                clean[usable],
                Misclassification(truth[usable]),
                starting_points=starts[usable],
            )
        near = budget.size(attacked - clean) <= epsilon
        return or_clean(attacked, clean, near & misclassified(victim, attacked, truth))

    # Not projected: these images lie so close to the boundary that rounding could bring them back.
    return batched(attack, budget=None, spare=True, size=ROWS)


def starting_points(victim: nn.Module, clean: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Find misclassified images (n, *shape) to start from, and for which rows (n,) there is one.

    Noise blended with the image first; where noise belongs to the image's own class, another image.
    """
    model = PyTorchModel(victim, bounds=(0, 1), device="cpu")
    noise = LinearSearchBlendedUniformNoiseAttack(directions=NOISE_DRAWS, steps=20)
    with warnings.catch_warnings():
        # It warns of rows without success, which are looked after below.
        warnings.simplefilter("ignore")
        starts: Tensor = noise.run(model, clean, Misclassification(truth))
    # Its last blend may leave [0, 1] by rounding.
    starts = starts.clamp(0, 1)
    usable = misclassified(victim, starts, truth)
    if not usable.all():
        with torch.no_grad():
            answers = victim(clean).argmax(1)
        for row in (~usable).nonzero()[:, 0].tolist():
            others = (answers != truth[row]).nonzero()[:, 0]
            if len(others):
                starts[row], usable[row] = clean[others[0]], True
    return starts, usable
