"""Everybody the file is compared with, ready to answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nip_evaluate.baselines import (
    LABEL_AGREEMENT,
    Detector,
    Laboratory,
    OddsTest,
    VariantKind,
    detector_fits,
    fit_odds,
    label_agreement,
    logits_of,
    network_labels,
    odds_name,
    transform_defences,
)
from nip_evaluate.baselines.memory import Memory
from nip_evaluate.baselines.network import Logits
from nip_evaluate.given.target import Target
from nip_evaluate.terms.answers import Answers, Defence, GateView
from nip_evaluate.terms.results import NotMeasured
from nip_evaluate.terms.threats import Images
from nip_export.support.progress import Progress
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy

ODDS_SAMPLES = (1, 16)
"""Noise samples of the odds test: the same number of passes as ours, and many more."""
FILE = "this file"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """A defence in the comparison.

    Attributes:
        defence: its name, description and passes, and its answers.
        variant: whether it is the file's own defence with something exchanged.
        view: what it would answer at every threshold; None without a threshold.
        threshold: the one in use.
    """

    defence: Defence
    variant: bool
    view: Callable[[Images], GateView] | None = None
    threshold: float | None = None


@dataclass(frozen=True, eq=False)
class Contenders:
    """Makes contenders for one file.

    Attributes:
        target: the file.
        laboratory: makes what is calibrated; None without the images the file was made from.
        memory: answers computed before.
        without: names of contenders to leave out.
        progress: who waits.
    """

    target: Target
    laboratory: Laboratory | None
    memory: Memory
    without: Sequence[str]
    progress: Progress

    def file(self) -> Contender | None:
        """The file's own gate at every threshold; None where no threshold decides the answer."""
        if self.target.spec.policy is not Policy.GUARDED:
            return None
        return self._gated(
            FILE, "", 2, self.target.gate_view, self.target.spec.gate.flag_threshold, variant=False
        )

    def others(self, shape: tuple[int, ...], budget: float) -> tuple[list[Contender], list[NotMeasured]]:
        """All baselines at a benign budget, and those that could not be had."""
        labels_of = network_labels(logits_of(self.target.undefended))
        transforms, left_out = transform_defences(labels_of, shape, self.target.manifest.input.bounds)
        found = [
            Contender(defence=self._remembered(defence), variant=False)
            for defence in transforms
            if defence.name not in self.without
        ]
        missing = list(left_out)
        if self.laboratory is None:
            why = "the images that the file was made from were not given"
            missing.append(NotMeasured("detectors, variants of the defence", why))
            return found, missing
        makers: list[tuple[str, Callable[[], Contender]]] = [
            (test.name, partial(self._odds_test, test, budget)) for test in self._odds(self.laboratory)
        ]
        makers.append((LABEL_AGREEMENT, partial(self._label_agreement, shape)))
        for name, fit in detector_fits(self._logits, self.laboratory.bench, progress=self.progress).items():
            makers.append((name, partial(self._detector, name, fit, budget)))
        for kind in self.laboratory.kinds:
            if kind is not VariantKind.FILE:
                makers.append((str(kind), partial(self._variant, self.laboratory, kind, budget)))
        for name, make in makers:
            if name in self.without:
                missing.append(NotMeasured(name, "left out of this run"))
                continue
            try:
                found.append(make())
            except ExportError as error:  # too few calibration images for this budget
                missing.append(NotMeasured(name, str(error)))
        return found, missing

    def _odds(self, laboratory: Laboratory) -> list[OddsTest]:
        calibration = laboratory.bench.calibration
        forward = logits_of(self.target.undefended)

        def fit(samples: int) -> OddsTest:
            return fit_odds(
                forward, calibration.inputs, calibration.labels, samples=samples, progress=self.progress
            )

        return [
            self.memory.recall(f"noise odds, fit to {samples}", None, partial(fit, samples))
            for samples in ODDS_SAMPLES
            if odds_name(samples) not in self.without
        ]

    def _logits(self, images: Images) -> Logits:
        """Of the undefended network, remembered: detectors ask about the same images in turn."""
        return self.memory.recall("logits", images, lambda: logits_of(self.target.undefended)(images))

    def _label_agreement(self, shape: tuple[int, ...]) -> Contender:
        return Contender(defence=self._remembered(label_agreement(self._logits, shape)), variant=False)

    def _detector(self, name: str, fit: Callable[[], Detector], budget: float) -> Contender:
        return self._odds_test(self.memory.recall(f"{name}, fit", None, fit), budget)

    def _odds_test(self, test: Detector, budget: float) -> Contender:
        made = test.defence(budget)
        return self._gated(
            made.name, made.description, made.passes, test.view, test.threshold(budget), variant=False
        )

    def _variant(self, laboratory: Laboratory, kind: VariantKind, budget: float) -> Contender:
        variant = laboratory.variant(kind, budget)
        if variant.spec.policy is not Policy.GUARDED:
            return Contender(defence=self._remembered(laboratory.defence(variant)), variant=True)
        return self._gated(
            variant.name,
            variant.description,
            variant.passes,
            partial(laboratory.view, variant),
            variant.spec.gate.flag_threshold,
            variant=True,
        )

    def _remembered(self, defence: Defence) -> Defence:
        def answer(images: Images) -> Answers:
            return self.memory.recall(defence.name, images, lambda: defence.answer(images))

        return Defence(
            name=defence.name, description=defence.description, passes=defence.passes, answer=answer
        )

    def _gated(
        self,
        name: str,
        description: str,
        passes: float,
        view: Callable[[Images], GateView],
        threshold: float,
        *,
        variant: bool,
    ) -> Contender:
        """A gate whose scores do not depend on the budget: seen once, it answers at every threshold."""

        def seen(images: Images) -> GateView:
            return self.memory.recall(f"{name}, every threshold", images, lambda: view(images))

        def answer(images: Images) -> Answers:
            found = seen(images)
            return Answers(
                found.labels(threshold),
                found.raw_labels,
                found.flagged(threshold),
                found.score.astype(np.float32),
            )

        defence = Defence(name=name, description=description, passes=passes, answer=answer)
        return Contender(defence=defence, variant=variant, view=seen, threshold=threshold)
