"""The attacks of the demo: foolbox, crafted on the *undefended* network (gray-box).

Two traps that settings here avoid. foolbox's own defaults for PGD (40 steps of ε/30) travel 1.33 ε in all
and stop short of the strongest point; 50 steps of ε/10 with restarts do not. And the minimum-norm attacks
(DeepFool, C&W with κ = 0) stop just past the decision boundary, DeepFool so close that rounding to 8 bits
undoes most of it: they are listed because readers ask for them, never as the headline.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from foolbox.attacks.base import Attack
from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
from foolbox.attacks.deepfool import L2DeepFoolAttack
from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel
from torch import nn

BATCH = 125
FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class AttackCase:
    """One row of the attack table.

    `epsilon` bounds the largest change of a pixel in [0, 1]; None for a minimum-norm attack, which looks
    for the smallest change instead. `restarts` run again, from a new random start, on images not yet
    misclassified. `images` caps how many test images are attacked (None: all of them).
    """

    name: str
    settings: str
    attack: Callable[[], Attack]
    epsilon: float | None
    restarts: int = 0
    images: int | None = None

    @property
    def minimum_norm(self) -> bool:
        """Whether the attack minimises the change instead of using a budget."""
        return self.epsilon is None


PGD_STEPS = 50

CASES = (
    AttackCase(
        name="FGSM 8/255",
        settings="L∞, one step of ε",
        attack=lambda: LinfFastGradientAttack(random_start=False),
        epsilon=8 / 255,
    ),
    AttackCase(
        name="PGD 8/255",
        settings=f"L∞, {PGD_STEPS} steps of ε/10, random start, 2 restarts",
        attack=lambda: LinfProjectedGradientDescentAttack(
            steps=PGD_STEPS, rel_stepsize=0.1, random_start=True
        ),
        epsilon=8 / 255,
        restarts=2,
    ),
    AttackCase(
        name="PGD 25/255",
        settings=f"L∞, {PGD_STEPS} steps of ε/10, random start, 2 restarts",
        attack=lambda: LinfProjectedGradientDescentAttack(
            steps=PGD_STEPS, rel_stepsize=0.1, random_start=True
        ),
        epsilon=25 / 255,
        restarts=2,
    ),
    AttackCase(
        name="DeepFool",
        settings="L2, minimum norm, up to 50 steps, 5 most likely classes, overshoot 0.02",
        attack=lambda: L2DeepFoolAttack(steps=50, candidates=5, overshoot=0.02),
        epsilon=None,
    ),
    AttackCase(
        name="C&W",
        settings="L2, minimum norm, κ = 0, 4 × 100 steps of 0.05",
        attack=lambda: L2CarliniWagnerAttack(
            binary_search_steps=4, steps=100, stepsize=0.05, confidence=0, initial_const=1.0, abort_early=True
        ),
        epsilon=None,
        images=200,
    ),
)


@dataclass(frozen=True)
class Attacked:
    """What an attack made of the first `n` test images.

    `images` (n, C, H, W) float32 in [0, 1]; `fooled` (n,) bool: the undefended torch network, right or
    wrong before, now misses the true label.
    """

    case: AttackCase
    images: FloatArray
    fooled: npt.NDArray[np.bool_]


def run_attack(
    case: AttackCase,
    model: nn.Module,
    images: FloatArray,
    labels: LabelArray,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Attacked:
    """Attack `model` (which expects normalised input) on images in [0, 1].

    Args:
        case: which attack and how.
        model: undefended network; left as it was.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) true classes.
        mean: per channel, subtracted inside the attacked model.
        std: per channel, divided by inside the attacked model.
        seed: of torch's generator for random starts; the global generator is left as it was.
        advance: called with the number of images done since the last call.

    Returns:
        The attacked images, inside [0, 1] and, where the case has an ε, within it.
    """
    count = len(images) if case.images is None else min(case.images, len(images))
    # channels_last takes a fifth off the gradient on CPU.
    victim: nn.Module = copy.deepcopy(model).eval().requires_grad_(False)
    victim.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stub
    wrapped = PyTorchModel(
        victim, bounds=(0, 1), preprocessing={"mean": mean, "std": std, "axis": -3}, device="cpu"
    )
    parts: list[torch.Tensor] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, count, BATCH):
            rows = slice(start, min(start + BATCH, count))
            clean, truth = torch.from_numpy(images[rows]), torch.from_numpy(labels[rows])
            parts.append(_attack_batch(case, wrapped, clean, truth))
            advance(len(clean))
        attacked = torch.cat(parts)
        fooled = _misses(wrapped, attacked, torch.from_numpy(labels[:count]))
    return Attacked(case, attacked.numpy(), fooled.numpy())


def _attack_batch(
    case: AttackCase, model: PyTorchModel, clean: torch.Tensor, truth: torch.Tensor
) -> torch.Tensor:
    attack = case.attack()
    _, attacked, _ = attack(model, clean, truth, epsilons=case.epsilon)
    for _ in range(case.restarts):
        left = ~_misses(model, attacked, truth)
        if not left.any():
            break
        _, again, _ = attack(model, clean[left], truth[left], epsilons=case.epsilon)
        attacked[left] = again
    # foolbox clips to the bounds after every step; the last subtraction may still leave 1 ulp.
    return attacked.detach().clamp(0, 1)


@torch.no_grad()
def _misses(model: PyTorchModel, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(images)
    return logits.argmax(1) != truth
