"""The file beside its baselines: same images, same attacks, same benign budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nip_export.evaluate.answers import Defence, GateView, twin_view
from nip_export.evaluate.baselines import (
    Laboratory,
    OddsTest,
    VariantKind,
    fit_odds,
    logits_of,
    network_labels,
    transform_defences,
    variant_view,
)
from nip_export.evaluate.results import BaselineResult, NotMeasured, TradeOff
from nip_export.evaluate.scoring import Outcome, score_baseline, score_benign, trade_off
from nip_export.evaluate.target import Target
from nip_export.evaluate.threats import Attacked, Images, Labels
from nip_export.progress import Progress
from nip_runtime.errors import ExportError
from nip_runtime.manifest import Policy

ODDS_SAMPLES = (1, 16)
"""Noise samples of the odds test: the same number of passes as ours, and many more."""
CURVES = (
    VariantKind.EVERY_ROW,
    VariantKind.RANDOM_PATTERN,
    VariantKind.SHUFFLED_PROFILES,
    VariantKind.EARLY_ALONE,
)
"""Variants whose trade-off is drawn beside the file's."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Baselines and trade-offs, and what could not be had."""

    baselines: tuple[BaselineResult, ...]
    trade_offs: tuple[TradeOff, ...]
    not_measured: tuple[NotMeasured, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What everything is compared on.

    Attributes:
        target: the file.
        laboratory: makes variants; None without the images the file was made from.
        images: (N, *shape) benign test images.
        labels: (N,) their classes.
        attacked: gray-box attacks on the first of them.
        outcomes: the file's, of the same attacks.
        progress: who waits.
    """

    target: Target
    laboratory: Laboratory | None
    images: Images
    labels: Labels
    attacked: Sequence[Attacked]
    outcomes: Sequence[Outcome]
    progress: Progress

    @property
    def budget(self) -> float:
        """The benign budget that calibrated baselines get: the file's."""
        return self.target.manifest.calibration.benign_budget

    def run(self) -> Compared:
        """Run all defences on all images."""
        labels_of = network_labels(logits_of(self.target.undefended))
        defences, left_out = transform_defences(labels_of, self.images.shape[1:])
        missing = list(left_out)
        candidates: list[tuple[str, Callable[[], Defence]]] = []
        odds: list[OddsTest] = []
        kinds: set[str] = set()
        if self.laboratory is None:
            why = "the images that the file was made from were not given"
            missing.append(NotMeasured("noise odds test, random pattern, shuffled profiles", why))
        else:
            odds = self._odds(self.laboratory)
            candidates += [(test.name, partial(test.defence, self.budget)) for test in odds]
            variants = [kind for kind in self.laboratory.kinds if kind is not VariantKind.FILE]
            candidates += [(str(kind), partial(self._variant, kind)) for kind in variants]
            kinds = {str(kind) for kind in variants}
        for name, make in candidates:
            try:
                defences = (*defences, make())
            except ExportError as error:
                missing.append(NotMeasured(name, str(error)))
        stage = self.progress("baselines", len(defences))
        results = []
        for defence in defences:
            results.append(self._score(defence, variant=defence.name in kinds))
            stage(1)
        return Compared(tuple(results), self._trade_offs(odds), tuple(missing))

    def file_alone(self) -> Compared:
        """No other defence: what the file itself trades at every threshold, if it was attacked."""
        alone = replace(self, laboratory=None)
        missing = NotMeasured("baselines", "left out of this run")
        return Compared((), alone._trade_offs(()), (missing,))

    def _odds(self, laboratory: Laboratory) -> list[OddsTest]:
        calibration = laboratory.bench.calibration
        forward = logits_of(self.target.undefended)
        return [
            fit_odds(forward, calibration.inputs, calibration.labels, samples=samples, progress=self.progress)
            for samples in ODDS_SAMPLES
        ]

    def _variant(self, kind: VariantKind) -> Defence:
        assert self.laboratory is not None  # only called with one
        return self.laboratory.defence(self.laboratory.variant(kind, self.budget))

    def _score(self, defence: Defence, *, variant: bool) -> BaselineResult:
        benign = defence.answer(self.images)
        outcomes = [
            Outcome.of(made.case, truth=self.labels, benign=benign, answers=defence.answer(made.images))
            for made in self.attacked
        ]
        return score_baseline(
            defence,
            variant=variant,
            benign=score_benign(benign, self.labels, second_pass=None),
            file=self.outcomes,
            baseline=outcomes,
        )

    def _trade_offs(self, odds: Sequence[OddsTest]) -> tuple[TradeOff, ...]:
        """The file's curve first; there is one only where a threshold decides the answer."""
        if self.target.spec.policy is not Policy.GUARDED:
            return ()
        views: list[tuple[str, Callable[[Images], GateView], float | None]] = [
            ("this file", partial(twin_view, self.target.twin), self.target.spec.gate.flag_threshold)
        ]
        if self.laboratory is not None:
            for kind in CURVES:
                try:
                    variant = self.laboratory.variant(kind, self.budget)
                except ExportError:
                    continue  # named among what was not measured
                views.append((str(kind), partial(variant_view, variant), variant.spec.gate.flag_threshold))
            views += [(test.name, test.view, None) for test in odds[:1]]
        stage = self.progress("trade-off curves", len(views))
        curves = []
        for name, view, chosen in views:
            core = [(made.case, view(made.images)) for made in self.attacked if made.case.core]
            curves.append(trade_off(name, view(self.images), self.labels, core, chosen=chosen))
            stage(1)
        return tuple(curve for curve in curves if curve is not None)
