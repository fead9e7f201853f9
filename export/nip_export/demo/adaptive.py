"""One attack by somebody who knows the defence: profiles, perturbation, thresholds, everything.

It differentiates through the torch twin of the whole pipeline and looks for a wrong answer that the gate lets
pass: projected gradient steps that widen the margin of the best wrong class over the true one in the raw
logits, and push the gate's score under its threshold wherever it is above. This is one adaptive attack, not
the strongest there may be: what it leaves is an upper bound on what the defence is worth against such people.

Source of the idea: Tramèr et al., "On Adaptive Attacks to Adversarial Example Defenses", NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_export.capture import evaluation_mode
from nip_export.verify import DefendedTwin

WIDE_ENOUGH = 1.0
"""Margin, in logits, beyond which only the gate's score is worked on."""
UNDER = 0.3
"""How far below the flag threshold the score is pushed."""
MOMENTUM = 0.75


@dataclass(frozen=True, kw_only=True)
class AdaptiveCase:
    """One adaptive attack.

    `gray_box` names the attack on the undefended model that it also starts from, `epsilon` bounds the change
    of a pixel in [0, 1], and `images` caps how many test images are attacked.
    """

    name: str
    gray_box: str
    epsilon: float
    steps: int = 60
    step_size: float = 0.1
    images: int = 100

    @property
    def settings(self) -> str:
        """What a table says about it."""
        return (
            f"L∞, {self.steps} steps of up to ε/{1 / self.step_size:.0f} through the whole defence, from the "
            "gray-box attack's result, then from a random start"
        )


ADAPTIVE_CASES = (
    AdaptiveCase(name="adaptive PGD 8/255", gray_box="PGD 8/255", epsilon=8 / 255),
    AdaptiveCase(name="adaptive PGD 25/255", gray_box="PGD 25/255", epsilon=25 / 255),
)


def objective(twin: DefendedTwin, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What the attack maximises per row (N,), and which rows (N,) the defence now answers wrongly."""
    outputs = twin(images)
    true = torch.nn.functional.one_hot(labels, outputs.raw_logits.shape[1]).bool()
    wrong = outputs.raw_logits.masked_fill(true, -torch.inf).amax(1)
    margin = wrong - outputs.raw_logits.gather(1, labels[:, None])[:, 0]
    over = (outputs.score - twin.spec.gate.flag_threshold + UNDER).clamp_min(0)
    return margin.clamp_max(WIDE_ENOUGH) - over, outputs.logits.argmax(1) != labels


def attack_defence(
    case: AdaptiveCase,
    twin: DefendedTwin,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    warm_start: NDArray[np.float32],
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float32]:
    """Attack the whole defence.

    Args:
        case: the budget.
        twin: the defence in torch, on the CPU.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) true classes.
        warm_start: (N, C, H, W) results of an attack on the undefended model within the same ε.
        seed: of the random start.
        advance: called with the number of images done since the last call.

    Returns:
        (N, C, H, W) float32 in [0, 1], within ε of `images`; rows that stay right keep their last step.
    """
    clean, target = torch.from_numpy(images), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.rand(clean.shape, generator=generator) * 2 - 1) * case.epsilon
    found = clean.clone()
    left = torch.arange(len(clean))
    with evaluation_mode(twin):
        for start in (torch.from_numpy(warm_start), (clean + noise).clamp(0, 1)):
            if len(left):
                found[left], fooled = climb(case, twin, clean[left], target[left], start[left])
                advance(int(fooled.sum()))
                left = left[~fooled]
    advance(len(left))
    return found.numpy()


def climb(
    case: AdaptiveCase, twin: DefendedTwin, clean: Tensor, labels: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Climb from one start; rows that are answered wrongly stop where they are.

    Returns:
        Images (N, C, H, W), and which of them (N,) are answered wrongly.
    """
    current, velocity = start.clone(), torch.zeros_like(clean)
    fooled = torch.zeros(len(clean), dtype=torch.bool)
    for step in range(case.steps):
        rows = (~fooled).nonzero()[:, 0]
        if not len(rows):
            break
        with torch.enable_grad():
            batch = current[rows].requires_grad_(True)
            value, wrong = objective(twin, batch, labels[rows])
            gradient = torch.autograd.grad(value.sum(), batch)[0]
        fooled[rows] = wrong
        size = gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
        velocity[rows] = MOMENTUM * velocity[rows] + gradient / size
        length = case.epsilon * case.step_size * (1 - 0.9 * step / case.steps)
        low, high = clean[rows] - case.epsilon, clean[rows] + case.epsilon
        moved = (batch.detach() + length * velocity[rows].sign()).clamp(low, high).clamp(0, 1)
        current[rows] = torch.where(wrong[:, None, None, None], batch.detach(), moved)
    with torch.no_grad():
        return current, twin(current).logits.argmax(1) != labels
