"""Runs one attack, whatever it is, and checks what it made."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import Budget
from nip_evaluate.terms.threats import AttackCase, Attacked, Images, Labels, Norm, Threat
from nip_export.support.progress import Advance
from nip_runtime.errors import ExportError

UNIT = (0.0, 1.0)
TOLERANCE = 1e-6
"""How far float32 arithmetic may carry a change beyond ε, relative to the range of an input."""


def run_attack(
    case: AttackCase,
    victim: nn.Module,
    images: Images,
    labels: Labels,
    *,
    seed: int,
    advance: Advance = lambda done: None,
    bounds: tuple[float, float] = UNIT,
) -> Attacked:
    """Attack the first images, as many as the case takes.

    T1 and T2 attack a frozen copy in evaluation mode of `victim`, which is left as it was. T3 and T4 get
    `victim` itself: a deployed session cannot be copied, and a twin is prepared by the craft that knows it.

    The attack libraries are set up for [0, 1]: inputs within other bounds are brought there and back, but for
    T4, whose crafts are our own and read the bounds off the twin.

    Args:
        case: which attack and how.
        victim: takes images within the bounds (normalisation inside), on the CPU; returns logits (N, C) for
            T1–T3.
        images: (N, *shape) float32 within the bounds.
        labels: (N,) int64, true classes.
        seed: of every generator that the attack draws from; the global ones are left as they were.
        advance: called with the number of images done since the last call.
        bounds: lowest and highest value of the images.

    Raises:
        ExportError: the attack left NaN, the bounds or its ε, or returned something of another shape.
    """
    count = len(images) if case.images is None else min(case.images, len(images))
    clean, truth = torch.from_numpy(images[:count].copy()), torch.from_numpy(labels[:count].copy())
    target = _frozen_copy(victim, clean) if case.threat in (Threat.GRAY_BOX, Threat.TRANSFER) else victim
    before = _rows_answered(victim)
    began = time.perf_counter()
    if bounds == UNIT or case.threat is Threat.ADAPTIVE:
        attacked = case.craft(target, clean, truth, seed, advance).detach()
    else:
        attacked = _within(case, target, clean, truth, seed, advance, bounds)
    seconds = time.perf_counter() - began
    original = torch.from_numpy(images[:count])
    _check(case, attacked, original, bounds)
    after = _rows_answered(victim)
    queries = None if before is None or after is None else (after - before) / max(count, 1)
    return Attacked(case, np.ascontiguousarray(attacked.numpy(), dtype=np.float32), seconds, queries)


class _OfUnit(nn.Module):
    """A victim of inputs within bounds that is shown inputs in [0, 1]."""

    def __init__(self, victim: nn.Module, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.victim, self.bounds = victim, bounds
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        low, high = self.bounds
        answers: Tensor = self.victim(images * (high - low) + low)
        return answers


def _within(
    case: AttackCase,
    victim: nn.Module,
    clean: Tensor,
    truth: Tensor,
    seed: int,
    advance: Advance,
    bounds: tuple[float, float],
) -> Tensor:
    """Attack inputs within bounds by a craft for [0, 1]: only the change is brought back, so 0 stays 0."""
    low, high = bounds
    unit = ((clean - low) / (high - low)).clamp(0, 1)
    change = case.craft(_OfUnit(victim, bounds), unit.clone(), truth, seed, advance).detach() - unit
    attacked = clean + change * (high - low)
    if case.epsilon is not None and case.norm in (Norm.LINF, Norm.L2):
        attacked = Budget(case.norm, case.epsilon).keep(attacked, clean)
    return attacked.clamp(low, high)


def _rows_answered(victim: nn.Module) -> int | None:
    """How many inputs a victim that counts them has answered."""
    counted = getattr(victim, "rows_answered", None)
    return counted if isinstance(counted, int) else None


def _frozen_copy(victim: nn.Module, images: Tensor) -> nn.Module:
    frozen = copy.deepcopy(victim).eval().requires_grad_(False)
    if images.ndim == 4:
        # Takes a fifth off the gradient on a CPU.
        frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stub
    return frozen


def _check(case: AttackCase, attacked: Tensor, clean: Tensor, bounds: tuple[float, float]) -> None:
    def refuse(expected: str, got: str) -> ExportError:
        return ExportError.mismatch(
            expected=f"{expected} from the attack {case.name!r}", got=got, fix="report this attack as broken"
        )

    if attacked.shape != clean.shape or attacked.dtype != torch.float32:
        expected = f"float32 images of shape {tuple(clean.shape)}"
        raise refuse(expected, f"{attacked.dtype} of shape {tuple(attacked.shape)}")
    if not len(clean):
        return
    if not attacked.isfinite().all():
        raise refuse("finite images", "NaN or infinity")
    low, high = float(attacked.min()), float(attacked.max())
    if low < bounds[0] or high > bounds[1]:
        raise refuse(f"images in [{bounds[0]:g}, {bounds[1]:g}]", f"values in [{low:g}, {high:g}]")
    if case.epsilon is not None and case.norm in (Norm.LINF, Norm.L2):
        size = float(Budget(case.norm, case.epsilon).size(attacked - clean).max())
        if size > case.epsilon + TOLERANCE:
            raise refuse(f"changes within {case.norm} {case.epsilon:g}", f"one of {size:g}")
