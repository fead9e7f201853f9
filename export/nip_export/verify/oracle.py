"""The whole defence in numpy, from its definition; only the backbone's own passes are somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_export import statistics
from nip_export.decision import Decision, Reading, decide, read_gate
from nip_export.network import Passed
from nip_export.spec import Bank, DefenceSpec
from nip_runtime.manifest import Policy

Forward = Callable[[NDArray[np.float32]], Passed]
"""One pass of the backbone over (N, *shape) float32 inputs."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What the file must answer to N inputs: raw logits, the gate's reading, and the decision."""

    raw: NDArray[np.float32]
    reading: Reading
    decision: Decision


def perturb(
    bank: Bank,
    bounds: tuple[float, float],
    inputs: NDArray[np.float32],
    hypothesis: NDArray[np.int64],
    *,
    per_class: bool,
) -> NDArray[np.float32]:
    """Inputs (N, *shape) under the hypothesis's or the universal inverse perturbation, kept in bounds."""
    rows = hypothesis if per_class else np.zeros_like(hypothesis)
    moved: NDArray[np.float32] = np.clip(inputs + bank.dense()[rows], *bounds).astype(np.float32)
    return moved


def oracle(spec: DefenceSpec, forward: Forward, inputs: NDArray[np.float32]) -> Expected:
    """Answer inputs (N, *shape) float32, N ≥ 1. Pass 2 runs on every row; the gate decides whose counts."""
    first = forward(inputs)
    early = statistics.evidence(spec.readouts, first.pooled)
    per_class = spec.policy is Policy.ALWAYS
    second = forward(perturb(spec.bank, spec.bounds, inputs, early.argmax(1), per_class=per_class))
    reading = read_gate(spec.gate, early, first.logits, second.logits)
    return Expected(first.logits, reading, decide(spec.policy, reading, early, first.logits, second.logits))
