"""Drift watches over streams drawn at a known flag rate: false alarms, and rows until a true one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.rates import Rate
from nip_runtime.observe import DriftWatch, Expected
from nip_runtime.observe.detector import RISES

ALPHA = 0.01
ROWS = 100_000
CALL = 10
"""Rows per call where the row of an alarm is asked for: one below the interval comes at the end of a call."""

Advance = Callable[[int], None]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Delay:
    """Rows from a change to the alarm, over many streams; inf of those that raised none in time."""

    rows: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Of the rows."""
        ordered = sorted(self.rows)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    @property
    def found(self) -> int:
        """Streams with an alarm."""
        return sum(math.isfinite(rows) for rows in self.rows)

    def __str__(self) -> str:
        return f"median {self.quantile(0.5):g}, 90 % within {self.quantile(0.9):g} rows"


def drawn(rng: np.random.Generator, rate: float, rows: int) -> Flags:
    """Independent rows."""
    return rng.random(rows, dtype=np.float32) < np.float32(rate)


def false_alarms(
    expected: Expected, rate: float, *, streams: int, rng: np.random.Generator, advance: Advance
) -> Rate:
    """Streams of 100,000 rows at this rate in which there was an alarm."""
    alarmed = 0
    for _ in range(streams):
        alarmed += bool(DriftWatch(expected, alpha=ALPHA, horizon_rows=ROWS).see(drawn(rng, rate, ROWS)))
        advance(1)
    return Rate(alarmed, streams)


def false_alarms_of_measured(
    rate: float, n: int, *, streams: int, rng: np.random.Generator, advance: Advance
) -> Rate:
    """Likewise, where the interval is measured anew for each stream, over ``n`` rows at the same rate."""
    alarmed = 0
    for _ in range(streams):
        expected = Expected.from_rate(Rate(int(drawn(rng, rate, n).sum()), n))
        alarmed += bool(DriftWatch(expected, alpha=ALPHA, horizon_rows=ROWS).see(drawn(rng, rate, ROWS)))
        advance(1)
    return Rate(alarmed, streams)


def rows_until_alarm(watch: DriftWatch, flags: Flags) -> float:
    """Rows after which a watch raises the first alarm; inf if it does not."""
    before = watch.state().rows
    for start in range(0, len(flags), CALL):
        alarms = watch.see(flags[start : start + CALL])
        if alarms:
            return alarms[0].row - before
    return math.inf


@dataclass(frozen=True, kw_only=True)
class Change:
    """Of the flag rate: from ``benign``, for ``before`` rows, to ``rate``."""

    benign: float
    before: int
    rate: float


def delays(
    expected: Expected, change: Change, *, streams: int, rng: np.random.Generator, advance: Advance
) -> Delay:
    """Rows from a change to the alarm."""
    rows = list[float]()
    while len(rows) < streams:
        watch = DriftWatch(expected, alpha=ALPHA, horizon_rows=ROWS)
        if watch.see(drawn(rng, change.benign, change.before)):
            continue  # a false alarm: counted elsewhere
        rows.append(rows_until_alarm(watch, drawn(rng, change.rate, ROWS)))
        advance(1)
    return Delay(tuple(rows))


def delays_of_one_product(
    expected: Expected, change: Change, *, streams: int, rng: np.random.Generator
) -> Delay:
    """Likewise for the plain e-process, the alternative: the same bets, each begun at the first row only.

    It needs 1 / alpha alone (per side), for its false alarms are rarer than alpha over all time.
    """
    odds = np.array(RISES) * expected.high / (1 - expected.high)
    rates = odds / (1 + odds)
    if_flagged, if_not = np.log(rates / expected.high), np.log((1 - rates) / (1 - expected.high))
    rows = list[float]()
    for _ in range(streams):
        flags = np.concatenate([drawn(rng, change.benign, change.before), drawn(rng, change.rate, ROWS)])
        logs = np.cumsum(np.where(flags[:, None], if_flagged, if_not), axis=0)
        evidence = np.logaddexp.reduce(logs, axis=1) - math.log(len(rates))
        alarms = np.flatnonzero(evidence[change.before :] >= math.log(2 / ALPHA))
        rows.append(float(alarms[0] + 1) if len(alarms) else math.inf)
    return Delay(tuple(rows))
