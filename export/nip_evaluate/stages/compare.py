"""The file beside its baselines: same images, same attacks, same benign budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nip_evaluate.scoring import Outcome, score_baseline, score_benign, trade_off
from nip_evaluate.stages.contenders import Contender, Contenders
from nip_evaluate.terms.results import BaselineResult, NotMeasured, TradeOff
from nip_evaluate.terms.threats import Attacked, Images, Labels
from nip_export.support.progress import Progress


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
        contenders: makes the defences.
        images: (N, *shape) benign test images.
        labels: (N,) their classes.
        attacked: gray-box attacks on the first of them.
        outcomes: the file's, of the same attacks.
        progress: who waits.
    """

    contenders: Contenders
    images: Images
    labels: Labels
    attacked: Sequence[Attacked]
    outcomes: Sequence[Outcome]
    progress: Progress

    def run(self, budget: float) -> Compared:
        """Run all defences on all images, those with a gate at this benign budget."""
        others, missing = self.contenders.others(self.images.shape[1:], budget)
        stage = self.progress("baselines", len(others))
        results = []
        for contender in others:
            results.append(self._score(contender))
            stage(1)
        return Compared(tuple(results), self._trade_offs(others), tuple(missing))

    def file_alone(self) -> Compared:
        """No other defence: what the file itself trades at every threshold, if it was attacked."""
        return Compared((), self._trade_offs(()), (NotMeasured("baselines", "left out of this run"),))

    def _score(self, contender: Contender) -> BaselineResult:
        defence = contender.defence
        benign = defence.answer(self.images)
        outcomes = [
            Outcome.of(made.case, truth=self.labels, benign=benign, answers=defence.answer(made.images))
            for made in self.attacked
        ]
        return score_baseline(
            defence,
            variant=contender.variant,
            benign=score_benign(benign, self.labels, second_pass=None),
            file=self.outcomes,
            baseline=outcomes,
        )

    def _trade_offs(self, others: Sequence[Contender]) -> tuple[TradeOff, ...]:
        """The file's curve first; there is one only where a threshold decides the answer."""
        file = self.contenders.file()
        if file is None:
            return ()
        gated = [file, *(contender for contender in others if contender.view is not None)]
        stage = self.progress("trade-off curves", len(gated))
        curves = []
        for contender in gated:
            if contender.view is not None:
                view = contender.view
                core = [(made.case, view(made.images)) for made in self.attacked if made.case.core]
                benign, chosen = view(self.images), contender.threshold
                curves.append(trade_off(contender.defence.name, benign, self.labels, core, chosen=chosen))
            stage(1)
        return tuple(curve for curve in curves if curve is not None)
