"""The whole defence in numpy, from its definition; only the backbone's own passes are somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_export.defence import statistics
from nip_export.defence.decision import Decision, FirstLook, Reading, decide, read_gate
from nip_export.defence.spec import Bank, DefenceSpec
from nip_export.defence.views import View, see
from nip_export.network.run import Passed
from nip_runtime.file.manifest import Policy

Forward = Callable[[NDArray[np.float32]], Passed]
"""One pass of the backbone over (N, *shape) float32 inputs."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What the file must answer to N inputs: raw logits, the gate's reading, and the decision."""

    raw: NDArray[np.float32]
    reading: Reading
    decision: Decision


def look_again(
    inputs: NDArray[np.float32],
    view: View,
    bank: Bank,
    bounds: tuple[float, float],
    *,
    hypothesis: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Inputs (N, *shape) as the second pass sees them: a view, and the inverse perturbation, within bounds.

    Args:
        inputs: float32 within the bounds.
        view: how they are looked at.
        bank: what is added.
        bounds: lowest and highest value.
        hypothesis: (N,) int64, whose row of the bank is added; None: the only one.
    """
    seen = see(inputs, view, bounds)
    if bank.adds:
        seen = seen + bank.dense()[np.zeros(len(inputs), np.int64) if hypothesis is None else hypothesis]
    moved: NDArray[np.float32] = np.clip(seen, *bounds).astype(np.float32)
    return moved


@dataclass(frozen=True, eq=False)
class Passes:
    """What both passes of the backbone leave of N inputs: the first look, and the second pass's logits.

    `terms` is what the rounding of early evidence is a share of: see :func:`statistics.largest_term`.
    """

    look: FirstLook
    second: NDArray[np.float32]
    terms: float


def both_passes(spec: DefenceSpec, forward: Forward, inputs: NDArray[np.float32]) -> Passes:
    """Run both on every row of (N, *shape) float32 inputs, N ≥ 1; the gate decides which seconds count."""
    passed = forward(inputs)
    look = FirstLook.of(passed, spec.readouts, spec.typicality)
    hypothesis = look.early.argmax(1) if spec.policy is Policy.ALWAYS else None
    again = look_again(inputs, spec.view, spec.bank, spec.bounds, hypothesis=hypothesis)
    terms = statistics.largest_term(spec.readouts, passed.pooled)
    return Passes(look, forward(again).logits, terms)


def judged(spec: DefenceSpec, passes: Passes) -> Expected:
    """The answer to inputs of which both passes are known."""
    look, second = passes.look, passes.second
    reading = read_gate(spec.gate, look, second)
    return Expected(look.raw, reading, decide(spec.policy, spec.gate, reading, look.early, look.raw, second))


def oracle(spec: DefenceSpec, forward: Forward, inputs: NDArray[np.float32]) -> Expected:
    """Answer inputs (N, *shape) float32, N ≥ 1."""
    return judged(spec, both_passes(spec, forward, inputs))
