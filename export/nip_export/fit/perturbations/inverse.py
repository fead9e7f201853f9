"""Inverse perturbations from benign inputs: raise the front neurons of a class and lower its tail neurons.

For a set of benign inputs x of classes y, maximise over ρ with ‖ρ‖∞ ≤ ε

    mean over x of [ mean over j ∈ front(y) of aⱼ(clip(x + ρ)) − mean over j ∈ tail(y) of aⱼ(clip(x + ρ)) ].

The published code takes one gradient step on one image's clean twin; here ρ belongs to a class, or to all
classes at once (universal), and no clean twin is needed when it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_export.config import PUBLISHED_SCALE
from nip_export.data.inputs import Inputs
from nip_export.fit.perturbations.bank import coarse_shape, refine
from nip_export.fit.profiles import InfluenceProfile
from nip_export.network import Tap, evaluation_mode, pool_activation
from nip_export.network.tapped import TappedNetwork
from nip_export.support.batches import Batches
from nip_export.support.progress import Advance

MOMENTUM = 0.75
FIRST_STEP = 0.1
LAST_STEP = 0.01
WINDOW = 8
"""Steps whose mean objective is compared with that of as many before."""
FLAT = 0.01
"""Share of the gain so far that a window must add; one that adds less ends all but the last, short steps."""
SHORT_STEPS = 0.25
"""Share of the steps that are taken after that: they settle what the long ones leave unsteady."""


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
    inputs: Inputs
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
        return self.slope(coarse, rows, per_class=per_class)[1]

    def slope(self, coarse: Tensor, rows: NDArray[np.int64], *, per_class: bool) -> tuple[float, Tensor]:
        """The objective under stored perturbations (1 or C rows), and its gradient with respect to them."""
        inputs, labels = self.batch(rows)
        variable = coarse.detach().requires_grad_(True)
        fine = refine(variable, self.shape, self.factor)
        added = inputs + (fine[labels] if per_class else fine)
        objective = self.value(added.clamp(*self.bounds), labels)
        return float(objective.detach()), torch.autograd.grad(objective, variable)[0]


def start(objective: InverseObjective, *, per_class: bool) -> Tensor:
    """Perturbations of zero: (C, *coarse) or (1, *coarse)."""
    count = len(objective.profile.influence) if per_class else 1
    return torch.zeros(count, *coarse_shape(objective.shape, objective.factor), device=objective.device)


def _over(
    objective: InverseObjective,
    coarse: Tensor,
    rows: NDArray[np.int64],
    batches: Batches,
    *,
    per_class: bool,
    advance: Advance | None = None,
) -> tuple[float, Tensor]:
    """Mean objective and gradient over rows, as many at once as memory allows."""
    value, total = 0.0, torch.zeros_like(coarse)

    def work(part: slice) -> None:
        nonlocal value, total
        chosen = rows[part]
        here, gradient = objective.slope(coarse, chosen, per_class=per_class)
        value, total = value + len(chosen) * here, total + len(chosen) * gradient

    batches.run(len(rows), work, advance)
    return value / len(rows), total / len(rows)


def ascend(
    objective: InverseObjective,
    *,
    per_class: bool,
    eps: float,
    steps: int,
    batch_size: int,
    seed: int,
    memory: int | None = None,
    advance: Advance | None = None,
) -> Tensor:
    """Signed gradient ascent with momentum and falling steps, over random benign batches.

    Where the objective stops rising, long steps end early and the short ones follow at once.

    Args:
        objective: what to maximise.
        per_class: one perturbation per class instead of a universal one.
        eps: bound on every element, in input units.
        steps: gradient steps.
        batch_size: benign inputs per step.
        seed: of the batches.
        memory: bytes that this process may hold; None: see :class:`nip_export.support.batches.Batches`.
        advance: called with the number of steps done or left out.

    Returns:
        (C, *coarse) or (1, *coarse) float32 within ±`eps`.
    """
    random = np.random.default_rng(seed)
    coarse = start(objective, per_class=per_class)
    velocity = torch.zeros_like(coarse)
    axes = tuple(range(1, coarse.ndim))
    batches = Batches(batch_size, objective.shape, memory=memory, device=objective.device)
    values: list[float] = []
    step = 0
    with evaluation_mode(objective.network), torch.enable_grad():
        while step < steps:
            rows = random.integers(len(objective.inputs), size=min(batch_size, len(objective.inputs)))
            value, gradient = _over(objective, coarse, rows, batches, per_class=per_class)
            # Each row by its own size: a class that few of the batch belong to moves as far as the others.
            velocity = MOMENTUM * velocity + gradient / gradient.abs().mean(axes, keepdim=True).clamp_min(
                1e-12
            )
            length = eps * (FIRST_STEP * (1 - step / steps) + LAST_STEP)
            coarse = (coarse + length * velocity.sign()).clamp(-eps, eps)
            values.append(value)
            following = step + 1
            if _is_flat(values):
                following = max(following, steps - math.ceil(SHORT_STEPS * steps))
            if advance is not None:
                advance(following - step)
            step = following
    return coarse


def _is_flat(values: Sequence[float]) -> bool:
    """Whether the objective has stopped rising, as far as random batches tell."""
    if len(values) < 2 * WINDOW:
        return False
    first, before, last = (
        float(np.mean(part)) for part in (values[:2], values[-2 * WINDOW : -WINDOW], values[-WINDOW:])
    )
    return last - before < FLAT * max(before - first, 0.0)


def one_step(
    objective: InverseObjective,
    *,
    per_class: bool,
    eps: float,
    batch_size: int,
    scale: float = PUBLISHED_SCALE,
    memory: int | None = None,
    advance: Advance | None = None,
) -> Tensor:
    """The published form: the gradient at ρ = 0 over all benign inputs ÷ its root mean square, scaled.

    Args:
        objective: what to raise.
        per_class: one perturbation per class instead of a universal one.
        eps: bound on every element, in input units.
        batch_size: benign inputs per gradient pass, at most.
        scale: root mean square of the result before it is cut, as a share of the value range.
        memory: bytes that this process may hold; None: see :class:`nip_export.support.batches.Batches`.
        advance: called with the number of inputs done.

    Returns:
        (C, *coarse) or (1, *coarse) float32, cut at ±`eps`.
    """
    coarse = start(objective, per_class=per_class)
    batches = Batches(batch_size, objective.shape, memory=memory, device=objective.device)
    rows = np.arange(len(objective.inputs))
    with evaluation_mode(objective.network), torch.enable_grad():
        _, total = _over(objective, coarse, rows, batches, per_class=per_class, advance=advance)
    axes = tuple(range(1, total.ndim))
    size = total.square().mean(axes, keepdim=True).sqrt().clamp_min(1e-12)
    low, high = objective.bounds
    return (scale * (high - low) * total / size).clamp(-eps, eps)
