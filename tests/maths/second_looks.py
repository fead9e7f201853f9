"""Second passes made up so that it is plain what every view does to right answers and to mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nip_export.calibrate import ViewTrial, choose_view
from nip_export.defence.views import View
from nip_export.network.run import Passed
from nip_runtime.file.manifest import ViewStep
from tests.maths.benign_like import known_of

MIRROR: View = (ViewStep.MIRROR,)
SHIFT: View = (ViewStep.SHIFT,)
MEDIAN: View = (ViewStep.MEDIAN,)
CLASSES = 4
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Effect:
    """What a second pass does: mistakes whose true class rises, right answers lost, how far features move,
    how far logits do on their own."""

    repairs: float = 0.0
    loses: float = 0.0
    strength: float = 0.1
    restless: float = 1.0


@dataclass(eq=False)
class World:
    """Inputs of which the last ones are misclassified, and what every view does to them."""

    effects: dict[tuple[View, bool], Effect]
    right: int = 400
    wrong: int = 100
    asked: list[tuple[View, bool, Rows]] = field(default_factory=list)

    def __post_init__(self) -> None:
        random, count = np.random.default_rng(0), self.right + self.wrong
        self.labels = random.integers(CLASSES, size=count)
        self.predicted = (self.labels + (np.arange(count) >= self.right)) % CLASSES
        logits = 8 * np.eye(CLASSES)[self.predicted] + random.normal(size=(count, CLASSES))
        # Read-outs that know nothing; features one unit from their mean.
        directions = random.normal(size=(count, 3))
        features = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        pooled = {"layer": np.zeros((count, CLASSES), np.float32), "features": features.astype(np.float32)}
        self.raw = Passed(logits.astype(np.float32), pooled)

    def second(self, view: View, rho: bool, rows: Rows) -> Passed:
        self.asked.append((view, rho, rows))
        effect = self.effects[view, rho]
        raw = self.raw.take(rows)
        places = np.random.default_rng(1).permutation(len(rows)) / len(rows)
        correct = self.predicted[rows] == self.labels[rows]
        logits = raw.logits + effect.restless * np.random.default_rng(2).normal(size=raw.logits.shape)
        repaired, lost = ~correct & (places < effect.repairs), correct & (places < effect.loses)
        logits[repaired, self.labels[rows][repaired]] += 6
        logits[lost, (self.predicted[rows][lost] + 1) % CLASSES] += 20
        moved = raw.pooled["features"] + np.array([effect.strength, 0, 0], np.float32)
        return Passed(logits.astype(np.float32), {**raw.pooled, "features": moved})

    def choose(
        self,
        views: Sequence[View],
        *,
        rho: bool | None = False,
        seed: int = 0,
        gentle: Sequence[View] = (),
    ) -> tuple[ViewTrial, tuple[ViewTrial, ...]]:
        known = known_of(CLASSES)
        return choose_view(
            views, self.second, self.raw, self.labels, known, seed=seed, rho=rho, gentle=gentle
        )
