"""Attacks that see labels alone, run until their questions are used up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foolbox.attacks.base import MinimizationAttack
from foolbox.attacks.boundary_attack import BoundaryAttack
from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
from foolbox.criteria import Misclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from benchmarks.service.victim import Enough, LabelVictim
from nip_evaluate.attacks.crafting import seeded
from nip_evaluate.query.decisions import starting_points

ENDLESS = 100_000
"""Steps: the budget of questions ends every attack."""


@dataclass(frozen=True)
class LabelAttack:
    """One attack.

    Attributes:
        name: for tables.
        source: the paper.
        make: makes it; foolbox's.
    """

    name: str
    source: str
    make: Callable[[], MinimizationAttack]


ATTACKS = {
    "hsj-l2": LabelAttack(
        "HopSkipJump L2",
        "Chen et al. 2020",
        lambda: HopSkipJumpAttack(steps=ENDLESS, initial_gradient_eval_steps=100),
    ),
    "hsj-linf": LabelAttack(
        "HopSkipJump L∞",
        "Chen et al. 2020",
        lambda: HopSkipJumpAttack(steps=ENDLESS, initial_gradient_eval_steps=100, constraint="linf"),
    ),
    "boundary": LabelAttack("Boundary L2", "Brendel et al. 2018", lambda: BoundaryAttack(steps=ENDLESS)),
}


def attack(victim: LabelVictim, case: LabelAttack, clean: Tensor, truth: Tensor, *, seed: int) -> int:
    """Attack images (N, *shape) of classes (N,) until every one has had its questions.

    What was found stands in the victim's records. Returns for how many images there was a misclassified one
    to start from; the others are not attacked.
    """
    usable_rows = list(range(len(clean)))
    with seeded(seed):
        try:
            victim.rows = usable_rows
            starts, usable = starting_points(victim, clean, truth)
            usable_rows = usable.nonzero()[:, 0].tolist()
            victim.rows = usable_rows
            case.make().run(
                PyTorchModel(victim, bounds=(0, 1), device="cpu"),
                clean[usable],
                Misclassification(truth[usable]),
                starting_points=starts[usable],
            )
        except Enough:
            pass
    return len(usable_rows)
