"""What all crafts share: batches, seeds, and staying within the budget."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nip_evaluate.terms.threats import Craft, Norm
from nip_export.support.progress import Advance
from nip_runtime.run.memory import trim

BATCH = 125

SLACK = 1e-7
"""Taken off ε before the last projection: more than float32 rounding of a value in [0, 1] can put back."""

BatchAttack = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Attacks one batch: victim, images (n, *shape) in [0, 1], true classes (n,) to attacked images."""


@dataclass(frozen=True)
class Budget:
    """A largest change, in units of the input."""

    norm: Norm
    epsilon: float

    def size(self, change: Tensor) -> Tensor:
        """How large changes (n, *shape) are in this norm: (n,) float64."""
        order = float("inf") if self.norm is Norm.LINF else 2
        sizes: Tensor = torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1, dtype=torch.float64)
        return sizes

    def keep(self, attacked: Tensor, clean: Tensor) -> Tensor:
        """Bring attacked images (n, *shape) back within ε of the clean ones."""
        change = attacked - clean
        limit = self.epsilon - SLACK
        if self.norm is Norm.LINF:
            return clean + change.clamp(-limit, limit)
        shrink = (limit / self.size(change).clamp_min(1e-12)).clamp_max(1).float()
        return clean + change * shrink.reshape(-1, *[1] * (change.ndim - 1))


def batched(attack: BatchAttack, *, budget: Budget | None, spare: bool, size: int = BATCH) -> Craft:
    """A craft that attacks batch after batch under its own seeded generators.

    Args:
        attack: of one batch.
        budget: kept whatever the attack does; None for a minimum-norm attack.
        spare: leave images alone that are misclassified already. Right for an attack that only looks for
            *some* misclassified image nearby; wrong for one whose images are to fool another network too.
        size: images in a batch.
    """

    def craft(victim: nn.Module, images: Tensor, labels: Tensor, seed: int, advance: Advance) -> Tensor:
        done = images.clone()
        with seeded(seed):
            for start in range(0, len(images), size):
                clean, truth = images[start : start + size], labels[start : start + size]
                rows = torch.ones(len(clean), dtype=torch.bool)
                if spare:
                    rows = ~misclassified(victim, clean, truth)
                if rows.any():
                    attacked = attack(victim, clean[rows], truth[rows]).detach()
                    if budget is not None:
                        attacked = budget.keep(attacked, clean[rows])
                    done[start : start + size][rows] = attacked.clamp(0, 1)
                # Thousands of steps on large images leave the allocator with gigabytes in holes.
                trim()
                advance(len(clean))
        return done

    return craft


def in_parts(craft: Craft, size: int) -> Craft:
    """The same craft, `size` images at a time, for networks too large for its own batches."""

    def parts(victim: nn.Module, images: Tensor, labels: Tensor, seed: int, advance: Advance) -> Tensor:
        made = [
            craft(victim, images[first : first + size], labels[first : first + size], seed + first, advance)
            for first in range(0, len(images), size)
        ]
        return torch.cat(made)

    return parts


@torch.no_grad()
def misclassified(victim: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Which images (n, *shape) are not given their class (n,): (n,) bool."""
    wrong: Tensor = victim(images).argmax(1) != labels
    return wrong


def or_clean(attacked: Tensor, clean: Tensor, success: Tensor) -> Tensor:
    """Attacked images where the attack succeeded (n,), clean ones elsewhere."""
    return torch.where(success.reshape(-1, *[1] * (clean.ndim - 1)), attacked, clean)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of torch, numpy and `random`, which libraries draw from; put them back after."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also seed the CUDA generators, which are not put back.
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
