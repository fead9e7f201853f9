"""What the adaptive attacks maximise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nip_evaluate.adaptive.passes import (
    Passes,
    corrected,
    excess,
    margin,
    mask_of,
    read_gate,
    typicality,
)
from nip_export.verify import DefendedTwin
from nip_runtime.file.manifest import Policy

WIDE_ENOUGH = 1.0
"""Margin, in logits, beyond which only the other terms are worked on."""
UNDER = 0.3
"""How far inside its side of the gate a row is driven, in units of the gate's score."""


@dataclass(frozen=True, eq=False)
class Goal:
    """What is wanted of N rows.

    Attributes:
        labels: (N,) true classes.
        target: (N,) a wrong class to be answered instead, or None: any.
        reference: pooled tapped activations (N, D) of benign images of a wrong class, one per read-out and
            the features last.
    """

    labels: Tensor
    target: Tensor | None
    reference: tuple[Tensor, ...]

    def take(self, rows: Tensor) -> Goal:
        """The goal of some rows."""
        target = None if self.target is None else self.target[rows]
        return Goal(self.labels[rows], target, tuple(each[rows] for each in self.reference))


Objective = Callable[[DefendedTwin, Passes, Goal], Tensor]
"""Maps both passes over N rows to values (N,) that rise as the attack comes closer."""


def through_the_defence(twin: DefendedTwin, passes: Passes, goal: Goal) -> Tensor:
    """Margin of a wrong class in the defended logits; argmax and gate choose as in the graph, unseen.

    Under ``detect`` a flagged row has no answer: there its score is lowered instead.
    """
    policy = twin.spec.policy
    if policy is Policy.ALWAYS:
        return margin(passes.second, goal.labels, goal.target)
    predicted = passes.raw.argmax(1)
    gate = read_gate(twin, passes, predicted)
    flagged = excess(twin, gate) > 0
    plain = margin(passes.raw, goal.labels, goal.target)
    if policy is Policy.DETECT:
        return torch.where(flagged, -gate.score, plain)
    answer = margin(corrected(twin, passes, gate, predicted), goal.labels, goal.target)
    return torch.where(flagged, answer, plain)


def every_branch(twin: DefendedTwin, passes: Passes, goal: Goal) -> Tensor:
    """The smallest wrong-class margin over all answers that some branch might give.

    Branches: the raw logits; the logits of the second view; and early evidence plus shifts, where the
    corrected answer leaves out the predicted class, so that a second wrong class has to beat the true one.
    """
    plain, moved = (margin(each, goal.labels, goal.target) for each in (passes.raw, passes.second))
    if twin.spec.policy is Policy.ALWAYS:
        return torch.minimum(moved, plain.clamp_max(WIDE_ENOUGH)) + 0.1 * moved
    true = mask_of(goal.labels, passes.raw.shape[1])
    rival = passes.raw.masked_fill(true, -torch.inf).argmax(1)
    gate = read_gate(twin, passes, rival)
    if twin.spec.policy is Policy.DETECT:
        return torch.minimum(plain, -excess(twin, gate)).clamp_max(WIDE_ENOUGH) + 0.1 * plain
    answer = margin(corrected(twin, passes, gate, rival), goal.labels)
    return torch.minimum(plain, answer).clamp_max(WIDE_ENOUGH) + 0.1 * (plain + answer)


def under_the_gate(*, matching: float) -> Objective:
    """Margin in the raw logits less what the gate's statistics are above their thresholds.

    Args:
        matching: weight of the squared distance between tapped activations and those of a benign image of
            another class, relative to that image's (feature matching: Sabour et al., "Adversarial
            Manipulation of Deep Representations", ICLR 2016).
    """

    def objective(twin: DefendedTwin, passes: Passes, goal: Goal) -> Tensor:
        always = twin.spec.policy is Policy.ALWAYS
        plain = margin(passes.second if always else passes.raw, goal.labels, goal.target)
        true = mask_of(goal.labels, passes.raw.shape[1])
        rival = passes.raw.masked_fill(true, -torch.inf).argmax(1) if goal.target is None else goal.target
        gate = read_gate(twin, passes, rival)
        value = plain.clamp_max(WIDE_ENOUGH) - (excess(twin, gate) + UNDER).clamp_min(0)
        if matching:
            value = value - matching * distance(passes.tapped, goal.reference)
        return value

    return objective


def every_view(*, matching: float) -> Objective:
    """A wrong class in both passes, by features that stay typical and below the screen.

    Where both views agree on the wrong class, nothing shifts towards the true one.

    Args:
        matching: weight of the distance to a benign image of the wrong class, as in :func:`under_the_gate`.
    """

    def objective(twin: DefendedTwin, passes: Passes, goal: Goal) -> Tensor:
        plain, moved = (margin(each, goal.labels, goal.target) for each in (passes.raw, passes.second))
        both = torch.minimum(plain, moved).clamp_max(2 * WIDE_ENOUGH) + 0.1 * (plain + moved).clamp_max(
            4 * WIDE_ENOUGH
        )
        true = mask_of(goal.labels, passes.raw.shape[1])
        rival = passes.raw.masked_fill(true, -torch.inf).argmax(1) if goal.target is None else goal.target
        gate = read_gate(twin, passes, rival)
        value = both - (excess(twin, gate) + UNDER).clamp_min(0) - typicality(twin, passes, rival)
        if matching:
            value = value - matching * distance(passes.tapped, goal.reference)
        return value

    return objective


def distance(tapped: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> Tensor:
    """Mean relative squared distance (N,) between pooled activations."""
    parts = [
        (ours - theirs).square().sum(1) / theirs.square().sum(1).clamp_min(1e-9)
        for ours, theirs in zip(tapped, reference, strict=True)
    ]
    return torch.stack(parts).mean(0)


def over_the_gate(twin: DefendedTwin, passes: Passes, goal: Goal) -> Tensor:
    """Keep the true class predicted and be flagged: the corrected answer never is the predicted class."""
    if twin.spec.policy is not Policy.GUARDED:
        return through_the_defence(twin, passes, goal)
    gate = read_gate(twin, passes, goal.labels)
    return (excess(twin, gate)).clamp_max(UNDER) - (margin(passes.raw, goal.labels) + 0.1).clamp_min(0)
