"""What a screen costs: inputs that both passes together would flag, and that it does not send on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nip_export.data.inputs import Inputs
from nip_export.defence.decision import FirstLook, read_gate
from nip_export.defence.spec import Gate
from nip_runtime.file.rates import Rate

PROBES = 256
"""Benign inputs that are also tried under random signs of the size of ε."""


@dataclass(frozen=True)
class ScreenCost:
    """Of inputs that the gate would flag if all took both passes, those that the screen sends on.

    Attributes:
        benign: among calibration images, misclassified ones too; None if none would be flagged.
        probes: among such images under random signs of the size of ε, which are no attack; likewise.
    """

    benign: Rate | None
    probes: Rate | None


def sent_on(gate: Gate, look: FirstLook, second: NDArray[np.floating]) -> Rate | None:
    """Share of the inputs flagged without a screen that the screen sends to the second pass."""
    flagged = read_gate(replace(gate, screen_threshold=None), look, second).flagged
    screened = read_gate(gate, look, second).screened
    return Rate(int((flagged & screened).sum()), int(flagged.sum())) if flagged.any() else None


def probes(inputs: Inputs, *, eps: float, bounds: tuple[float, float], seed: int) -> NDArray[np.float32]:
    """The first inputs (N, *shape) under random signs of the size of ε, within the bounds."""
    chosen = inputs[:PROBES]
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), size=chosen.shape)
    moved: NDArray[np.float32] = np.clip(chosen + np.float32(eps) * signs, *bounds).astype(np.float32)
    return moved
