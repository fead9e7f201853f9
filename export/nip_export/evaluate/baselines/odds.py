"""The noise odds test: how another class's odds change when noise is added to the input.

Source: Roth, Kilcher and Hofmann, "The Odds are Odd", ICML 2019. No library ships it; this is ours:

- g_{y,z}(x) = mean over N noise patterns n of [(l_z − l_y)(x + n) − (l_z − l_y)(x)], for the predicted class
  y, every other class z and logits l: how far z gains on y. Noise is Gaussian, and not clipped.
- ḡ_{y,z} is g_{y,z} standardised by its mean and deviation over benign inputs predicted as y (shrunk towards
  what all classes share, as everywhere in this package). The deviation is that of the mean over the N
  patterns, so that N is accounted for.
- An input is flagged if max over z of ḡ_{y,z} exceeds one threshold, cut on benign inputs exactly as the
  defence's own gate is. The paper has a threshold per pair of classes, which a few hundred images per class
  cannot set at a share of a percent.
- A flagged input is answered with the class z of the largest ḡ_{y,z}, the paper's correction; its variant
  with a trained classifier on top is left out, since that one is trained on adversarial inputs.
- The N patterns are drawn once, from a seed, and shared by all rows: a row's answer depends on nothing else
  in its batch.
- σ is the largest of a grid up to which the network's accuracy on benign inputs under noise stays within one
  point of that without. No adversarial input is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nip_export import statistics
from nip_export.calibrate.gate import DOUBT, FOLDS, LEAST_CORRECT, allowed_flags, cut
from nip_export.calibrate.scales import fit_scale
from nip_export.evaluate.answers import Answers, Defence, GateView
from nip_export.evaluate.baselines.budgets import BUDGETS, BenignCost, budget_for_cost
from nip_export.evaluate.baselines.network import Forward, Logits
from nip_export.evaluate.baselines.noise import choose_sigma, noise_patterns
from nip_export.evaluate.threats import Images, Labels
from nip_export.progress import Advance, Progress, silent
from nip_export.spec import ClassScale
from nip_runtime.errors import ExportError
from nip_runtime.rates import Rate

Doubles = NDArray[np.float64]
Rows = NDArray[np.bool_]


def odds_shift(
    forward: Forward, images: Images, raw: Logits, noise: NDArray[np.float32], advance: Advance | None = None
) -> Doubles:
    """g of every class (N, C) for the predicted class, 0 at that class itself.

    Args:
        forward: the network.
        images: (N, *shape) float32.
        raw: logits (N, C) without noise.
        noise: patterns (samples, *shape) float32, in input units.
        advance: called with 1 after every pattern.
    """
    total = np.zeros(raw.shape)
    for pattern in noise:  # one after the other: all at once would take samples times the memory
        total += forward(images + pattern)
        if advance is not None:
            advance(1)
    return statistics.shift(raw.astype(np.float64), total / len(noise), raw.argmax(1))


def odds_scores(shifts: Doubles, predicted: Labels, scale: ClassScale) -> tuple[Doubles, Labels]:
    """The largest standardised shift (N,) and the class (N,) that it belongs to."""
    others = statistics.without(statistics.standardise(shifts, scale, predicted), predicted)
    return others.max(1), others.argmax(1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class OddsTest:
    """The test fitted to benign images, ready for any budget.

    Attributes:
        forward: the network.
        noise: patterns (samples, *shape) float32, in input units.
        sigma: their standard deviation.
        scale: benign mean and deviation of g per predicted class.
        labels: (N,) true classes of the calibration images.
        predicted: (N,) the network's.
        fold: (N,) which fifth a calibration image belongs to.
        held_out_score: (N,) score of each calibration image by a scale fitted without its fifth.
        held_out_answer: (N,) likewise, the class that it would be corrected to.
    """

    forward: Forward = field(repr=False)
    noise: NDArray[np.float32] = field(repr=False)
    sigma: float
    scale: ClassScale = field(repr=False)
    labels: Labels = field(repr=False)
    predicted: Labels = field(repr=False)
    fold: NDArray[np.int64] = field(repr=False)
    held_out_score: Doubles = field(repr=False)
    held_out_answer: Labels = field(repr=False)

    @property
    def name(self) -> str:
        """As tables print it."""
        return odds_name(len(self.noise))

    @property
    def correct(self) -> Rows:
        """(N,) calibration images that the network labels rightly."""
        right: Rows = self.predicted == self.labels
        return right

    def threshold(self, budget: float, rows: Rows | None = None) -> float:
        """The cut on the score at a benign budget, set on calibration images.

        Args:
            budget: share of rightly labelled benign images that may be flagged.
            rows: (N,) calibration images to set it on; None: all.

        Raises:
            ExportError: too few images to keep the budget.
        """
        chosen = self.correct if rows is None else self.correct & rows
        count = int(chosen.sum())
        allowed = allowed_flags(count, budget)
        if allowed < 0:
            needed = math.ceil(math.log(DOUBT) / math.log1p(-budget))
            raise ExportError(
                f"benign_budget: {count} correctly classified calibration images cannot show that at most "
                f"{budget:.2%} are flagged; give at least {needed}, or a larger budget"
            )
        return cut(self.held_out_score[chosen], allowed)

    def cost(self, budget: float) -> BenignCost:
        """Cross-validated cost of a benign budget; every image is judged by what was fitted without it.

        Raises:
            ExportError: too few images to keep the budget.
        """
        self.threshold(budget)
        flagged = np.empty(len(self.labels), bool)
        for left_out in range(FOLDS):
            rows = self.fold == left_out
            allowed = allowed_flags(int((self.correct & ~rows).sum()), budget)
            flagged[rows] = self.held_out_score[rows] > cut(
                self.held_out_score[self.correct & ~rows], allowed
            )
        answers = np.where(flagged, self.held_out_answer, self.predicted)
        benign, n = int(self.correct.sum()), len(self.labels)
        return BenignCost(
            budget=budget,
            flag_rate=Rate(int(flagged[self.correct].sum()), benign),
            pass2_rate=Rate(benign, benign),
            accuracy_raw=Rate(benign, n),
            accuracy_defended=Rate(int((answers == self.labels).sum()), n),
        )

    def budget_for_cost(self, limit: float, grid: Sequence[float] = BUDGETS) -> float:
        """See :func:`nip_export.evaluate.baselines.budgets.budget_for_cost`."""
        return budget_for_cost(self.cost, limit, grid)

    def view(self, images: Images) -> GateView:
        """Answers to images (N, *shape) at every threshold."""
        raw = self.forward(images)
        predicted = raw.argmax(1).astype(np.int64)
        shifts = odds_shift(self.forward, images, raw, self.noise)
        score, corrected = odds_scores(shifts, predicted, self.scale)
        return GateView(score, np.ones(len(score), bool), predicted, corrected)

    def defence(self, budget: float) -> Defence:
        """The test at a benign budget.

        Raises:
            ExportError: too few calibration images to keep the budget.
        """
        threshold = self.threshold(budget)

        def answer(images: Images) -> Answers:
            seen = self.view(images)
            return Answers(
                seen.labels(threshold),
                seen.raw_labels,
                seen.flagged(threshold),
                seen.score.astype(np.float32),
            )

        return Defence(
            name=self.name,
            description=f"Roth et al. 2019, Gaussian noise of σ = {self.sigma * 255:g}/255 chosen on benign "
            f"images, benign budget {budget:.2%}; every image takes all passes",
            passes=1 + len(self.noise),
            answer=answer,
        )


def odds_name(samples: int) -> str:
    """The test's name with so many noise samples."""
    return f"noise odds, {samples} sample{'s' if samples > 1 else ''}"


def fit_odds(
    forward: Forward,
    images: Images,
    labels: Labels,
    *,
    samples: int,
    seed: int = 0,
    sigma: float | None = None,
    progress: Progress = silent,
) -> OddsTest:
    """Fit the test to benign calibration images.

    Args:
        forward: the network.
        images: (N, *shape) float32 in [0, 1].
        labels: (N,) int64.
        samples: noise patterns: the test takes one pass for each besides the first.
        seed: of patterns and folds.
        sigma: deviation of the noise in input units; None: chosen on the images.
        progress: told of every pattern.

    Raises:
        ExportError: fewer than 50 images are labelled rightly.
    """
    raw = forward(images)
    predicted = raw.argmax(1).astype(np.int64)
    correct = predicted == labels
    if correct.sum() < LEAST_CORRECT:
        raise ExportError(
            f"expected at least {LEAST_CORRECT} correctly classified calibration images, got "
            f"{int(correct.sum())} of {len(labels)}; give more"
        )
    patterns = noise_patterns(samples, images.shape[1:], seed)
    if sigma is None:
        sigma = choose_sigma(forward, images, labels, seed)
    noise = np.float32(sigma) * patterns
    shifts = odds_shift(forward, images, raw, noise, progress("Noise odds test", samples))

    def fit(rows: Rows) -> ClassScale:
        return fit_scale(shifts[rows], predicted[rows], classes=raw.shape[1])

    random, fold = np.random.default_rng(seed), np.empty(len(labels), np.int64)
    for part in (correct, ~correct):  # as in the gate's own calibration
        fold[part] = random.permutation(int(part.sum())) % FOLDS
    score, corrected = np.empty(len(labels)), np.empty(len(labels), np.int64)
    for left_out in range(FOLDS):
        rows = fold == left_out
        score[rows], corrected[rows] = odds_scores(shifts[rows], predicted[rows], fit(correct & ~rows))
    return OddsTest(forward, noise, sigma, fit(correct), labels, predicted, fold, score, corrected)
