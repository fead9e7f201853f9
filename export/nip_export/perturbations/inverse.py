"""Inverse perturbations from benign inputs: raise the front neurons of a class and lower its tail neurons.

For a set of benign inputs x of classes y, maximise over ρ with ‖ρ‖∞ ≤ ε

    mean over x of [ mean over j ∈ front(y) of aⱼ(clip(x + ρ)) − mean over j ∈ tail(y) of aⱼ(clip(x + ρ)) ].

The published code takes one gradient step on one image's clean twin; here ρ belongs to a class, or to all
classes at once (universal), and no clean twin is needed when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_export.attach.trace import TappedNetwork
from nip_export.capture import Tap, evaluation_mode, pool_activation
from nip_export.config import PUBLISHED_SCALE
from nip_export.perturbations.bank import coarse_shape, refine
from nip_export.profiles import InfluenceProfile
from nip_export.progress import Advance

MOMENTUM = 0.75
FIRST_STEP = 0.1
LAST_STEP = 0.01


@dataclass(frozen=True, eq=False)
class InverseObjective:
    """What an inverse perturbation maximises, for one network and one set of benign inputs.

    Attributes:
        network: the tapped network.
        tap: the layer whose neurons count, normally the features before the classifier.
        profile: front and tail neurons per class, for channels (one cell).
        inputs: (N, *shape) float32 benign inputs that the network classifies correctly.
        labels: (N,) int64.
        bounds: lowest and highest input value.
        device: where the network lives.
        factor: input rows and columns that one stored value covers; None: by the size of the input.
    """

    network: TappedNetwork
    tap: Tap
    profile: InfluenceProfile
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    bounds: tuple[float, float]
    device: torch.device
    factor: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Per-sample input shape."""
        return tuple(self.inputs.shape[1:])

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Some inputs with their labels, on the device."""
        inputs = torch.from_numpy(np.ascontiguousarray(self.inputs[rows])).to(self.device)
        return inputs, torch.from_numpy(self.labels[rows]).to(self.device)

    def value(self, perturbed: Tensor, labels: Tensor) -> Tensor:
        """Mean front minus mean tail activation, averaged over the rows of inputs (N, *shape) in bounds."""
        _, *activations = self.network(perturbed)
        by_name = dict(zip(self.network.taps, activations, strict=True))
        neurons = pool_activation(by_name[self.tap.name], kind=self.tap.kind)
        front = torch.from_numpy(self.profile.front).to(self.device)[labels]
        tail = torch.from_numpy(self.profile.tail).to(self.device)[labels]
        return (neurons.gather(1, front).mean(1) - neurons.gather(1, tail).mean(1)).mean()

    def gradient(self, coarse: Tensor, rows: NDArray[np.int64], *, per_class: bool) -> Tensor:
        """Gradient of the objective with respect to stored perturbations (1 or C rows)."""
        inputs, labels = self.batch(rows)
        variable = coarse.detach().requires_grad_(True)
        fine = refine(variable, self.shape, self.factor)
        added = inputs + (fine[labels] if per_class else fine)
        objective = self.value(added.clamp(*self.bounds), labels)
        return torch.autograd.grad(objective, variable)[0]


def start(objective: InverseObjective, *, per_class: bool) -> Tensor:
    """Perturbations of zero: (C, *coarse) or (1, *coarse)."""
    count = len(objective.profile.influence) if per_class else 1
    return torch.zeros(count, *coarse_shape(objective.shape, objective.factor), device=objective.device)


def ascend(
    objective: InverseObjective,
    *,
    per_class: bool,
    eps: float,
    steps: int,
    batch_size: int,
    seed: int,
    advance: Advance | None = None,
) -> Tensor:
    """Signed gradient ascent with momentum and falling steps, over random benign batches.

    Args:
        objective: what to maximise.
        per_class: one perturbation per class instead of a universal one.
        eps: bound on every element, in input units.
        steps: gradient steps.
        batch_size: benign inputs per step.
        seed: of the batches.
        advance: called with 1 after every step.

    Returns:
        (C, *coarse) or (1, *coarse) float32 within ±`eps`.
    """
    random = np.random.default_rng(seed)
    coarse = start(objective, per_class=per_class)
    velocity = torch.zeros_like(coarse)
    axes = tuple(range(1, coarse.ndim))
    with evaluation_mode(objective.network), torch.enable_grad():
        for step in range(steps):
            rows = random.integers(len(objective.inputs), size=min(batch_size, len(objective.inputs)))
            gradient = objective.gradient(coarse, rows, per_class=per_class)
            # Each row by its own size: a class that few of the batch belong to moves as far as the others.
            velocity = MOMENTUM * velocity + gradient / gradient.abs().mean(axes, keepdim=True).clamp_min(
                1e-12
            )
            length = eps * (FIRST_STEP * (1 - step / steps) + LAST_STEP)
            coarse = (coarse + length * velocity.sign()).clamp(-eps, eps)
            if advance is not None:
                advance(1)
    return coarse


def one_step(
    objective: InverseObjective,
    *,
    per_class: bool,
    eps: float,
    batch_size: int,
    scale: float = PUBLISHED_SCALE,
    advance: Advance | None = None,
) -> Tensor:
    """The published form: the gradient at ρ = 0 over all benign inputs ÷ its root mean square, scaled.

    Args:
        objective: what to raise.
        per_class: one perturbation per class instead of a universal one.
        eps: bound on every element, in input units.
        batch_size: benign inputs per gradient pass.
        scale: root mean square of the result before it is cut, as a share of the value range.
        advance: called with the number of inputs done.

    Returns:
        (C, *coarse) or (1, *coarse) float32, cut at ±`eps`.
    """
    coarse = start(objective, per_class=per_class)
    total = torch.zeros_like(coarse)
    with evaluation_mode(objective.network), torch.enable_grad():
        for first in range(0, len(objective.inputs), batch_size):
            rows = np.arange(first, min(first + batch_size, len(objective.inputs)))
            total += len(rows) * objective.gradient(coarse, rows, per_class=per_class)
            if advance is not None:
                advance(len(rows))
    axes = tuple(range(1, total.ndim))
    size = total.square().mean(axes, keepdim=True).sqrt().clamp_min(1e-12)
    low, high = objective.bounds
    return (scale * (high - low) * total / size).clamp(-eps, eps)
