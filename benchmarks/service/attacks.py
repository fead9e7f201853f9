"""Attacks that see labels alone, run until their questions are used up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from art.attacks.evasion.sign_opt import SignOPTAttack
from art.estimators.classification.blackbox import BlackBoxClassifierNeuralNetwork
from foolbox.attacks.base import MinimizationAttack
from foolbox.attacks.boundary_attack import BoundaryAttack
from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
from foolbox.criteria import Misclassification
from foolbox.models.pytorch import PyTorchModel
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.service.victim import Enough, LabelVictim
from nip_evaluate.attacks.crafting import seeded
from nip_evaluate.query.decisions import starting_points

ENDLESS = 100_000
"""Steps: the budget of questions ends every attack."""

Run = Callable[[LabelVictim, Tensor, Tensor], int]
"""Attacks images (N, *shape) of classes (N,); returns for how many there was one to start from."""


@dataclass(frozen=True)
class LabelAttack:
    """One attack.

    Attributes:
        name: for tables.
        source: the paper.
        run: asks until every image has had its questions.
    """

    name: str
    source: str
    run: Run


def _all_in_turns(make: Callable[[], MinimizationAttack]) -> Run:
    """Foolbox's attacks take all images through every step together."""

    def run(victim: LabelVictim, clean: Tensor, truth: Tensor) -> int:
        victim.rows = range(len(clean))
        try:
            starts, usable = starting_points(victim, clean, truth)
            victim.rows = usable.nonzero()[:, 0].tolist()
            make().run(
                PyTorchModel(victim, bounds=(0, 1), device="cpu"),
                clean[usable],
                Misclassification(truth[usable]),
                starting_points=starts[usable],
            )
        except Enough:
            pass
        return len(victim.rows)

    return run


def _one_by_one(victim: LabelVictim, clean: Tensor, truth: Tensor) -> int:
    """ART's Sign-OPT takes one image to its end; stuck before its questions are used up, it starts anew."""
    started = 0
    for row in range(len(clean)):

        def asked(images: NDArray[np.float32], row: int = row) -> NDArray[np.float32]:
            victim.rows = [row] * len(images)
            return np.asarray(victim(torch.from_numpy(images)).numpy())

        classifier = BlackBoxClassifierNeuralNetwork(
            asked,
            input_shape=tuple(clean.shape[1:]),
            nb_classes=victim.classes,
            channels_first=True,
            clip_values=(0.0, 1.0),
        )
        search = SignOPTAttack(classifier, targeted=False, max_iter=ENDLESS, query_limit=10 * ENDLESS)
        try:
            found = True
            while found:
                search.generate(clean[row : row + 1].numpy(), truth[row : row + 1].numpy())
                found = bool(victim.records[row].steps)
        except Enough:
            found = bool(victim.records[row].steps)
        started += found
    return started


ATTACKS = {
    "hsj-l2": LabelAttack(
        "HopSkipJump L2",
        "Chen et al. 2020",
        _all_in_turns(lambda: HopSkipJumpAttack(steps=ENDLESS, initial_gradient_eval_steps=100)),
    ),
    "hsj-linf": LabelAttack(
        "HopSkipJump L∞",
        "Chen et al. 2020",
        _all_in_turns(
            lambda: HopSkipJumpAttack(steps=ENDLESS, initial_gradient_eval_steps=100, constraint="linf")
        ),
    ),
    "boundary": LabelAttack(
        "Boundary L2", "Brendel et al. 2018", _all_in_turns(lambda: BoundaryAttack(steps=ENDLESS))
    ),
    "sign-opt": LabelAttack("Sign-OPT L2", "Cheng et al. 2020", _one_by_one),
}


def attack(victim: LabelVictim, case: LabelAttack, clean: Tensor, truth: Tensor, *, seed: int) -> int:
    """Attack images (N, *shape) of classes (N,) until every one has had its questions.

    What was found stands in the victim's records. Returns for how many images there was a misclassified one
    to start from; the others are not attacked.
    """
    with seeded(seed):
        return case.run(victim, clean, truth)
