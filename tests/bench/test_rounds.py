"""Statistics against numbers derived by hand, and the order in which cases are run."""

from __future__ import annotations

import gc
import time
from itertools import pairwise
from math import comb

import numpy as np
import pytest

from nip_runtime.errors import InputError
from nip_runtime.operate.bench.rounds import (
    Latency,
    Spread,
    latency,
    paired,
    ratio,
    rounds_within,
    spread,
    turn_order,
)


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # Per round: 2, 3, 2, 10, 2.5. The ratio of the medians would be 2.0 / 1.0, of the means 21.5 / 7.
    base = np.array([1.0, 1.0, 2.0, 1.0, 2.0])
    times = np.array([2.0, 3.0, 4.0, 10.0, 5.0])
    assert ratio(times, base) == Spread(2.5, 2.0, 10.0)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # From tables of the sign test: P(B(10, 1/2) ≤ 1) = 11 / 1024, P(≤ 2) = 56 / 1024.
    [(1, 1, 1), (5, 1, 5), (6, 1, 6), (9, 2, 8), (10, 2, 9), (20, 6, 15), (25, 8, 18), (100, 40, 61)],
)
def test_the_interval_is_that_of_the_sign_test(count: int, low: int, high: int) -> None:
    shuffled = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert spread(shuffled) == Spread((count + 1) / 2, low, high)


@pytest.mark.parametrize("count", [6, 17, 64, 999])
def test_the_interval_covers_the_median_as_often_as_it_says_and_is_the_shortest(count: int) -> None:
    rank = int(spread(np.arange(1.0, count + 1)).low)
    chance = [sum(comb(count, i) for i in range(k)) / 2**count for k in (rank, rank + 1)]
    assert chance[0] <= 0.025 < chance[1]


def test_percentiles_by_hand() -> None:
    # 101 values, so that the percentiles fall on values.
    found = latency(np.random.default_rng(0).permutation(np.arange(1, 102) / 1000))
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == pytest.approx((51, 96, 100))
    assert found.rounds == 101
    assert found.images_per_s(16) == pytest.approx(16 / 0.051)


def test_every_round_runs_every_case_once_and_the_order_changes() -> None:
    ran: list[str] = []
    seen: list[int] = []
    times = paired(
        {name: lambda name=name: ran.append(name) for name in "abc"},  # type: ignore[misc]
        rounds=6,
        warmup=3,
        advance=seen.append,
    )
    assert ["".join(ran[start : start + 3]) for start in range(0, 27, 3)] == [
        *("cba", "acb", "bac"),  # warm-up
        *("abc", "bca", "cab"),
        *("cba", "acb", "bac"),
    ]
    assert seen == [1] * 6
    assert list(times) == ["a", "b", "c"]
    assert all(values.shape == (6,) and values.dtype == np.float64 for values in times.values())


def test_every_case_has_every_place_and_no_fixed_predecessor() -> None:
    orders = [turn_order("abcd", turn) for turn in range(8)]
    for name in "abcd":
        assert sorted(order.index(name) for order in orders) == [0, 0, 1, 1, 2, 2, 3, 3]
    after = {(one, other) for order in orders for one, other in pairwise(order)}
    assert {("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")} <= after


def test_times_stand_in_their_own_round() -> None:
    lasts_s = iter([0.0, 0.0, 0.03, 0.0])  # the third call is slow: the second case of the first round
    times = paired(
        {name: lambda: time.sleep(next(lasts_s)) for name in ("first", "second")}, rounds=1, warmup=1
    )
    # Warm-up runs (turn −1) backwards, then round 0 forwards.
    assert times["first"][0] >= 0.03


def test_the_collector_is_off_while_timing_and_on_again_after_an_error() -> None:
    states: list[bool] = []
    paired({"a": lambda: states.append(gc.isenabled())}, rounds=2, warmup=0)
    assert states == [False, False]
    assert gc.isenabled()

    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        paired({"a": fail}, rounds=1)
    assert gc.isenabled()


def test_freeing_a_result_is_not_timed() -> None:
    class Slow:
        def __del__(self) -> None:
            time.sleep(0.05)

    # Between the two clock readings only making one counts: far less than freeing it.
    assert paired({"a": Slow}, rounds=1, warmup=0)["a"][0] < 0.05


def test_rounds_follow_the_budget_within_limits() -> None:
    assert rounds_within(10, 0.1, least=5, most=1000) == 100
    assert rounds_within(10, 4, least=5, most=1000) == 5
    assert rounds_within(10, 1e-5, least=5, most=1000) == 1000
    assert rounds_within(10, 0, least=5, most=1000) == 1000


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="at least one case and one round, got 0 cases"):
        paired({}, rounds=1)
    with pytest.raises(InputError, match="got 1 cases, 0 rounds"):
        paired({"a": lambda: None}, rounds=0)
    with pytest.raises(InputError, match="as many rounds in both, 2, got 3"):
        ratio(np.ones(3), np.ones(2))
    for measure in (spread, latency):
        with pytest.raises(InputError, match="got none"):
            measure(np.empty(0))
    with pytest.raises(ValueError, match="median: expected within"):
        Spread(1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="in this order"):
        Latency(p50_ms=2, p95_ms=1, p99_ms=3, rounds=1)
