"""What detectors say of benign calibration images that they were fitted without: thresholds and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nip_evaluate.baselines.budgets import BUDGETS, BenignCost, budget_for_cost
from nip_evaluate.terms.answers import Answers, Defence, GateView
from nip_evaluate.terms.threats import Images, Labels
from nip_export.calibrate.gate import DOUBT, FOLDS, LEAST_CORRECT, allowed_flags, cut
from nip_runtime.errors import ExportError
from nip_runtime.file.rates import Rate

Doubles = NDArray[np.float64]
Rows = NDArray[np.bool_]
Judge = Callable[[Rows], tuple[Doubles, Labels]]
"""Scores (N,) and answers (N,) of all calibration images, as a detector fitted to some of them gives them."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A detector's judgement of N benign calibration images, each by a fit that did not see it.

    Attributes:
        labels: (N,) true classes.
        predicted: (N,) the network's.
        fold: (N,) which fifth an image belongs to.
        score: (N,) higher: more like an attack.
        answer: (N,) the class it would be answered with if it were flagged.
    """

    labels: Labels
    predicted: Labels
    fold: NDArray[np.int64]
    score: Doubles
    answer: Labels

    @classmethod
    def of(cls, labels: Labels, predicted: Labels, judge: Judge, *, seed: int = 0) -> Self:
        """Judge every fifth of the images by a fit to the rightly labelled ones of the others.

        Args:
            labels: (N,) int64.
            predicted: (N,) int64.
            judge: fits to a mask (N,) and judges all N.
            seed: of the folds.

        Raises:
            ExportError: fewer than 50 images are labelled rightly.
        """
        correct = predicted == labels
        if correct.sum() < LEAST_CORRECT:
            raise ExportError(
                f"expected at least {LEAST_CORRECT} correctly classified calibration images, got "
                f"{int(correct.sum())} of {len(labels)}; give more"
            )
        random, fold = np.random.default_rng(seed), np.empty(len(labels), np.int64)
        for part in (correct, ~correct):  # as in the gate's own calibration
            fold[part] = random.permutation(int(part.sum())) % FOLDS
        score, answer = np.empty(len(labels)), np.empty(len(labels), np.int64)
        for left_out in range(FOLDS):
            rows = fold == left_out
            scores, answers = judge(correct & ~rows)
            score[rows], answer[rows] = scores[rows], answers[rows]
        return cls(labels, predicted, fold, score, answer)

    @property
    def correct(self) -> Rows:
        """(N,) images that the network labels rightly."""
        right: Rows = self.predicted == self.labels
        return right

    def threshold(self, budget: float) -> float:
        """The cut on the score at a benign budget, with 90 % confidence, as the defence's own gate is cut.

        Args:
            budget: share of rightly labelled benign images that may be flagged.

        Raises:
            ExportError: too few images to keep the budget.
        """
        count = int(self.correct.sum())
        allowed = allowed_flags(count, budget)
        if allowed < 0:
            needed = math.ceil(math.log(DOUBT) / math.log1p(-budget))
            raise ExportError(
                f"benign_budget: {count} correctly classified calibration images cannot show that at most "
                f"{budget:.2%} are flagged; give at least {needed}, or a larger budget"
            )
        return cut(self.score[self.correct], allowed)

    def cost(self, budget: float) -> BenignCost:
        """Cross-validated cost of a benign budget; every image is judged by what was fitted without it.

        Raises:
            ExportError: too few images to keep the budget.
        """
        self.threshold(budget)
        flagged = np.empty(len(self.labels), bool)
        for left_out in range(FOLDS):
            rows = self.fold == left_out
            others = self.correct & ~rows
            flagged[rows] = self.score[rows] > cut(
                self.score[others], allowed_flags(int(others.sum()), budget)
            )
        answers = np.where(flagged, self.answer, self.predicted)
        benign, n = int(self.correct.sum()), len(self.labels)
        return BenignCost(
            budget=budget,
            flag_rate=Rate(int(flagged[self.correct].sum()), benign),
            pass2_rate=Rate(benign, benign),
            accuracy_raw=Rate(benign, n),
            accuracy_defended=Rate(int((answers == self.labels).sum()), n),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector:
    """A detector fitted to benign images, ready for any budget.

    Attributes:
        name: as tables print it.
        description: settings and source, without the budget.
        passes: network passes of every image.
        view: maps images (N, *shape) to answers at every threshold; rows are independent.
        held_out: what it says of benign calibration images.
    """

    name: str
    description: str
    passes: float
    view: Callable[[Images], GateView] = field(repr=False)
    held_out: HeldOut = field(repr=False)

    def threshold(self, budget: float) -> float:
        """The cut on the score at a benign budget.

        Raises:
            ExportError: too few calibration images to keep the budget.
        """
        return self.held_out.threshold(budget)

    def budget_for_cost(self, limit: float, grid: Sequence[float] = BUDGETS) -> float:
        """See :func:`nip_evaluate.baselines.budgets.budget_for_cost`."""
        return budget_for_cost(self.held_out.cost, limit, grid)

    def defence(self, budget: float) -> Defence:
        """The detector at a benign budget.

        Raises:
            ExportError: too few calibration images to keep the budget.
        """
        return gated(
            self.name,
            f"{self.description}; benign budget {budget:.2%}",
            self.passes,
            self.view,
            self.threshold(budget),
        )


def gated(
    name: str, description: str, passes: float, view: Callable[[Images], GateView], threshold: float
) -> Defence:
    """A view at one threshold as a defence to compare."""

    def answer(images: Images) -> Answers:
        seen = view(images)
        return Answers(
            seen.labels(threshold),
            seen.raw_labels,
            seen.flagged(threshold),
            seen.score.astype(np.float32),
        )

    return Defence(name=name, description=description, passes=passes, answer=answer)


def every_row(score: Doubles, predicted: Labels, corrected: Labels) -> GateView:
    """What a detector without a screen answers: any row can be flagged."""
    return GateView(score, np.ones(len(score), bool), predicted, corrected)


def fixed(score: Doubles, answer: Labels) -> Judge:
    """The judgement of a detector of which nothing is fitted: scores (N,), answers (N,)."""
    return lambda _: (score, answer)
