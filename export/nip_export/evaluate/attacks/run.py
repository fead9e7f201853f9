"""Runs one attack, whatever it is, and checks what it made."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from torch import Tensor, nn

from nip_export.evaluate.attacks.crafting import Budget
from nip_export.evaluate.threats import AttackCase, Attacked, Images, Labels, Norm, Threat
from nip_export.progress import Advance
from nip_runtime.errors import ExportError

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
) -> Attacked:
    """Attack the first images, as many as the case takes.

    T1 and T2 attack a frozen copy in evaluation mode of `victim`, which is left as it was. T3 and T4 get
    `victim` itself: a deployed session cannot be copied, and a twin is prepared by the craft that knows it.

    Args:
        case: which attack and how.
        victim: takes images in [0, 1] (normalisation inside), on the CPU; returns logits (N, C) for T1–T3.
        images: (N, *shape) float32 in [0, 1].
        labels: (N,) int64, true classes.
        seed: of every generator that the attack draws from; the global ones are left as they were.
        advance: called with the number of images done since the last call.

    Raises:
        ExportError: the attack left NaN, left [0, 1] or its ε, or returned something of another shape.
    """
    count = len(images) if case.images is None else min(case.images, len(images))
    clean, truth = torch.from_numpy(images[:count].copy()), torch.from_numpy(labels[:count].copy())
    target = _frozen_copy(victim, clean) if case.threat in (Threat.GRAY_BOX, Threat.TRANSFER) else victim
    before = _rows_answered(victim)
    began = time.perf_counter()
    attacked = case.craft(target, clean, truth, seed, advance).detach()
    seconds = time.perf_counter() - began
    original = torch.from_numpy(images[:count])
    _check(case, attacked, original)
    after = _rows_answered(victim)
    queries = None if before is None or after is None else (after - before) / max(count, 1)
    return Attacked(case, np.ascontiguousarray(attacked.numpy(), dtype=np.float32), seconds, queries)


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


def _check(case: AttackCase, attacked: Tensor, clean: Tensor) -> None:
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
    if low < 0 or high > 1:
        raise refuse("images in [0, 1]", f"values in [{low:g}, {high:g}]")
    if case.epsilon is not None and case.norm in (Norm.LINF, Norm.L2):
        size = float(Budget(case.norm, case.epsilon).size(attacked - clean).max())
        if size > case.epsilon + TOLERANCE:
            raise refuse(f"changes within {case.norm} {case.epsilon:g}", f"one of {size:g}")
