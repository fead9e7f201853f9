"""What a gated defence costs and buys at every threshold, from one look at each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nip_evaluate.scoring.bootstrap import MeanDsr, stack
from nip_evaluate.scoring.outcome import Flags, refuse_mixed_threats
from nip_evaluate.scoring.paired import cost, share
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.results import TradeOff, TradeOffPoint
from nip_evaluate.terms.threats import AttackCase, Labels
from nip_runtime.errors import InputError

_LOWEST_RATE: Final = 0.001
_HIGHEST_RATE: Final = 0.15
_RESAMPLES: Final = 300  # of each of some 25 points that share an axis: enough to draw a band


@dataclass(frozen=True, eq=False)
class Sweep:
    """Everything that a threshold turns into a `TradeOffPoint`.

    Attributes:
        benign: the gate on N benign images.
        labels: (N,) int64 true classes.
        attacked: the gate on the first n of them after each attack that succeeded at least once.
        mean: over those attacks, knowing where they succeeded.
    """

    benign: GateView
    labels: Labels
    attacked: tuple[GateView, ...]
    mean: MeanDsr

    @classmethod
    def of(
        cls, benign: GateView, labels: Labels, attacked: Sequence[tuple[AttackCase, GateView]]
    ) -> Sweep | None:
        """Keep the core attacks that succeeded; None without any."""
        if len(benign.score) != len(labels):
            raise InputError.mismatch(
                expected=f"one true class for each of {len(benign.score)} benign images",
                got=f"{len(labels)}",
                fix="hand over the classes of the same images",
            )
        refuse_mixed_threats(case for case, _ in attacked)
        kept: list[GateView] = []
        successes: list[Flags] = []
        for case, view in attacked:
            rows = slice(len(view.score))
            successful = (benign.raw_labels[rows] == labels[rows]) & (view.raw_labels != labels[rows])
            if case.core and successful.any():
                kept.append(view)
                successes.append(successful)
        if not kept:
            return None
        images = max(len(row) for row in successes)
        return cls(benign, labels, tuple(kept), MeanDsr(stack(successes, images), resamples=_RESAMPLES))

    def at(self, threshold: float) -> TradeOffPoint:
        """What the defence costs and buys if rows above this threshold are flagged."""
        images = self.mean.successful.shape[1]
        right = [view.labels(threshold) == self.labels[: len(view.score)] for view in self.attacked]
        return TradeOffPoint(
            threshold=float(threshold),
            flagged=share(self.benign.flagged(threshold)),
            cost=cost(self.benign.raw_labels == self.labels, self.benign.labels(threshold) == self.labels),
            mean_dsr=self.mean.estimate(stack(right, images) & self.mean.successful),
        )


def thresholds(view: GateView, *, points: int) -> list[float]:
    """Falling thresholds that flag from none of the benign rows to about 15 % of them, spread by ratio.

    Rows that are flagged at every threshold (no or infinite score) stay so; where fewer rows can be flagged
    than 15 %, the last threshold flags them all. Empty if no row can be.
    """
    ordered = np.sort(view.score[view.flaggable & np.isfinite(view.score)])[::-1]
    if len(ordered) == 0:
        return []
    rates = np.geomspace(_LOWEST_RATE, _HIGHEST_RATE, max(points - 1, 1))
    counts = {0, *(round(rate * len(view.score)) for rate in rates)}
    # Rows above the (k + 1)-th largest score are at most k; just below the smallest, all of them.
    below = float(np.nextafter(ordered[-1], -np.inf))
    return sorted(
        {float(ordered[k]) if k < len(ordered) else below for k in counts},
        reverse=True,
    )


def trade_off(
    name: str,
    benign: GateView,
    labels: Labels,
    attacked: Sequence[tuple[AttackCase, GateView]],
    *,
    chosen: float | None,
    points: int = 25,
) -> TradeOff | None:
    """The gate at some 25 thresholds, by rising flag rate.

    Args:
        name: of the defence.
        benign: the gate on N benign images.
        labels: (N,) int64 true classes.
        attacked: the gate on the first n of the images after each attack; only core attacks count.
        chosen: the threshold in use, which is always among the points; None if there is none.
        points: how many thresholds at most, beside the chosen one.

    Returns:
        None if no core attack succeeded or no threshold makes a difference.

    Raises:
        InputError: if `labels` is not about the benign images, or core attacks are of several threat models.
    """
    sweep = Sweep.of(benign, labels, attacked)
    settings = set(thresholds(benign, points=points))
    if chosen is not None:
        settings.add(float(chosen))
    if sweep is None or not settings:
        return None
    ordered = sorted(settings, reverse=True)
    return TradeOff(
        name=name,
        points=tuple(sweep.at(threshold) for threshold in ordered),
        chosen=None if chosen is None else ordered.index(float(chosen)),
    )
