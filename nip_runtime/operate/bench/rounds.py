"""Paired timing: every round runs every case once, so that what slows the machine slows them all.

A ratio of two cases is taken within each round; its median over the rounds is what gets reported, for the
ratio of two means would mostly tell which of the two was interrupted.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError

T = TypeVar("T")
Case = Callable[[], object]
Times = NDArray[np.float64]
"""(rounds,) seconds."""

WARM_UP: Final = 3
"""Rounds that are run and not counted."""

_ONE_SIDE: Final = 0.025
"""Chance that a 95 % interval lies wholly below, and that it lies wholly above, what it is to cover."""


@dataclass(frozen=True)
class Spread:
    """The median of a sample, and the 95 % interval [``low``, ``high``] of the median it was drawn from."""

    median: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.median <= self.high:
            raise ValueError(f"median: expected within [{self.low}, {self.high}], got {self.median}")

    def over(self, divisor: float) -> Spread:
        """The same in units of ``divisor`` > 0."""
        return Spread(self.median / divisor, self.low / divisor, self.high / divisor)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long one run took: half of the rounds at most ``p50_ms``, 95 % at most ``p95_ms``, and so on."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    rounds: int

    def __post_init__(self) -> None:
        if not 0 < self.p50_ms <= self.p95_ms <= self.p99_ms:
            got = (self.p50_ms, self.p95_ms, self.p99_ms)
            raise ValueError(f"p50_ms, p95_ms, p99_ms: expected positive, in this order, got {got}")

    def images_per_s(self, batch: int) -> float:
        """Images per second at runs of ``batch`` that take the median time."""
        return batch / self.p50_ms * 1e3


def paired(
    cases: Mapping[str, Case],
    *,
    rounds: int,
    warmup: int = WARM_UP,
    advance: Callable[[int], None] | None = None,
) -> Mapping[str, Times]:
    """Time every case once per round.

    The order starts one case later in every round and runs backwards in every second pass through the cases,
    so that no case always follows the same one and finds the cache as that one left it. The garbage
    collector is off meanwhile.

    Args:
        cases: what to time, by name; at least one. What a case returns is let go of after the clock stopped.
        rounds: at least 1.
        warmup: rounds before them that are not counted.
        advance: called with 1 after every round that counts.

    Returns:
        For every case, in the order of ``cases``, (rounds,) float64 seconds. Position i is the same round in
        all of them.

    Raises:
        InputError: if there is no case or no round.
    """
    if not cases or rounds < 1 or warmup < 0:
        raise InputError.mismatch(
            expected="at least one case and one round",
            got=f"{len(cases)} cases, {rounds} rounds after {warmup} of warm-up",
            fix="ask for more",
        )
    names = list(cases)
    times = {name: np.empty(rounds) for name in names}
    with _collector_off():
        for turn in range(-warmup, rounds):
            for name in turn_order(names, turn):
                seconds = _time(cases[name])
                if turn >= 0:
                    times[name][turn] = seconds
            if turn >= 0 and advance is not None:
                advance(1)
    return times


def turn_order(names: Sequence[T], turn: int) -> list[T]:
    """The order in which round ``turn`` runs the cases."""
    count = len(names)
    start = turn % count
    order = [*names[start:], *names[:start]]
    return order[::-1] if turn // count % 2 else order


def rounds_within(budget_s: float, round_s: float, *, least: int, most: int) -> int:
    """How many rounds of ``round_s`` seconds fit into ``budget_s``, from ``least`` to ``most``."""
    return max(least, min(most, int(budget_s / max(round_s, 1e-9))))


def ratio(times: Times, base: Times) -> Spread:
    """The median over the rounds of ``times / base``, with its 95 % interval.

    Args:
        times: (rounds,) of one case.
        base: (rounds,) of the other, from the same call of :func:`paired`.

    Raises:
        InputError: if they differ in length, or are empty.
    """
    if len(times) != len(base):
        raise InputError.mismatch(
            expected=f"as many rounds in both, {len(base)}", got=str(len(times)), fix="time both in one run"
        )
    return spread(times / base)


def spread(values: NDArray[np.float64]) -> Spread:
    """The median of (n,) values with its 95 % interval.

    The ends are the k-th smallest and k-th largest value, k the largest with P(Binomial(n, 1/2) < k) ≤ 2.5 %:
    this holds for any distribution. With fewer than 6 values no such k exists; the ends are then the smallest
    and the largest, and cover the median less often.

    Source: W. J. Conover, "Practical Nonparametric Statistics" (1999), section 3.2.

    Raises:
        InputError: if there is no value.
    """
    if len(values) == 0:
        raise InputError.mismatch(expected="at least one value", got="none", fix="run more rounds")
    ordered = np.sort(values)
    rank = max(_rank(len(ordered)), 1)
    return Spread(float(np.median(ordered)), float(ordered[rank - 1]), float(ordered[-rank]))


def latency(times: Times) -> Latency:
    """Percentiles of (rounds,) seconds, linear between neighbours.

    Raises:
        InputError: if there is no time.
    """
    if len(times) == 0:
        raise InputError.mismatch(expected="at least one round", got="none", fix="run more rounds")
    p50, p95, p99 = (float(value) * 1e3 for value in np.percentile(times, [50, 95, 99]))
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99, rounds=len(times))


def _rank(count: int) -> int:
    """The largest k with P(Binomial(count, 1/2) < k) ≤ 2.5 %, 0 if there is none."""
    total, below, rank = 0.0, math.log(0.5) * count, 0
    for successes in range(count):
        total += math.exp(below)
        if total > _ONE_SIDE:
            break
        rank = successes + 1
        below += math.log((count - successes) / (successes + 1))
    return rank


def _time(case: Case) -> float:
    start = time.perf_counter()
    result = case()
    seconds = time.perf_counter() - start
    del result  # freeing it is not part of the run
    return seconds


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
