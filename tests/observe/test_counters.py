from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_runtime.errors import InputError
from nip_runtime.observe import BOUNDS_S, Counters, Latency, Totals, merged
from nip_runtime.result import Reason
from tests.observe.answers import answer

_calls = st.lists(st.tuples(st.lists(st.sampled_from(Reason), max_size=8), st.floats(0, 100)), max_size=12)


def test_counts_every_kind_of_row_once() -> None:
    counters = Counters()
    counters.observe(answer(list(Reason)), duration_s=0.003)
    counters.observe(answer([Reason.PASSED] * 3), duration_s=0.003)
    seen = counters.snapshot()
    assert (seen.passed, seen.corrected, seen.confirmed, seen.detected, seen.refused) == (4, 1, 1, 1, 1)
    assert seen.rows == 8
    assert seen.calls == 2
    assert seen.flagged == 3  # corrected, confirmed and detected; the refused row never reached the gate
    assert seen.abstained == 1
    assert [seen.of(reason) for reason in Reason] == [4, 1, 1, 1, 1]


def test_policy_always_corrects_rows_that_it_did_not_flag() -> None:
    counters = Counters()
    rows = answer([Reason.CORRECTED, Reason.CONFIRMED, Reason.CONFIRMED], flagged=[True, False, False])
    counters.observe(rows, duration_s=0.001)
    assert counters.snapshot().flagged == 1


def test_errors_are_counted_by_class_and_apart_from_the_durations() -> None:
    counters = Counters()
    for error in (InputError("a"), InputError("b"), ValueError("c")):
        counters.observe_error(error, duration_s=1.0)
    seen = counters.snapshot()
    assert seen.errors == (("InputError", 2), ("ValueError", 1))
    assert seen.calls == 0


@settings(deadline=None)
@given(_calls)
def test_agrees_with_counting_by_hand(calls: list[tuple[list[Reason], float]]) -> None:
    counters = Counters()
    for reasons, duration_s in calls:
        counters.observe(answer(reasons), duration_s=duration_s)
    seen, every = counters.snapshot(), [reason for reasons, _ in calls for reason in reasons]
    for reason in Reason:
        assert seen.of(reason) == every.count(reason)
    assert seen.flagged == sum(reason not in (Reason.PASSED, Reason.REFUSED) for reason in every)
    assert seen.rows == len(every)
    edges = (-1.0, *BOUNDS_S, float("inf"))
    for (low, high), count in zip(pairwise(edges), seen.latency.counts, strict=True):
        assert count == sum(low < duration_s <= high for _, duration_s in calls)
    assert seen.latency.sum_s == pytest.approx(sum(duration_s for _, duration_s in calls))


@settings(deadline=None)
@given(_calls, st.integers(0, 12))
def test_two_processes_add_up_to_one(calls: list[tuple[list[Reason], float]], cut: int) -> None:
    whole, first, second = Counters(), Counters(), Counters()
    for number, (reasons, duration_s) in enumerate(calls):
        for counters in (whole, first if number < cut else second):
            counters.observe(answer(reasons), duration_s=duration_s)
            counters.observe_error(KeyError() if number % 2 else ValueError(), duration_s=0.1)
    total = merged([first.snapshot(), second.snapshot()])
    expected = whole.snapshot()
    assert total.latency.sum_s == pytest.approx(expected.latency.sum_s)
    assert replace(total, latency=replace(total.latency, sum_s=expected.latency.sum_s)) == expected
    assert merged([]) == Totals()


def test_no_call_of_several_threads_is_lost() -> None:
    counters, rows = Counters(), answer([Reason.PASSED, Reason.CORRECTED])

    def work() -> None:
        for _ in range(2000):
            counters.observe(rows, duration_s=0.001)

    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        seen = [counters.snapshot() for _ in range(200)]
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch_s)
    for each in seen:  # at one moment: never a call without its rows
        assert each.rows == 2 * each.calls
        assert each.flagged == each.calls
    assert counters.snapshot().rows == 16_000


def test_a_call_of_one_row_costs_microseconds() -> None:
    counters, rows = Counters(), answer([Reason.PASSED])
    best_s = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(500):
            counters.observe(rows, duration_s=0.001)
        best_s = min(best_s, (time.perf_counter() - began) / 500)
    assert best_s < 5e-6


def test_quantiles_are_bounds_of_buckets() -> None:
    counters = Counters()
    for duration_s in [0.0004] * 9 + [0.03]:
        counters.observe(answer([Reason.PASSED]), duration_s=duration_s)
    latency = counters.snapshot().latency
    assert latency.quantile_s(0.0) == latency.quantile_s(0.9) == 0.0005
    assert latency.quantile_s(0.95) == latency.quantile_s(1.0) == 0.05
    assert Latency().quantile_s(0.5) != Latency().quantile_s(0.5)  # NaN of no calls
    counters.observe(answer([]), duration_s=1e3)
    assert counters.snapshot().latency.quantile_s(1.0) == float("inf")
    with pytest.raises(ValueError, match=r"share: expected 0 to 1, got 1\.5"):
        latency.quantile_s(1.5)


def test_bounds_rise_evenly() -> None:
    ratios = [high / low for low, high in pairwise(BOUNDS_S)]
    assert all(1.99 < ratio < 2.51 for ratio in ratios)
    assert (BOUNDS_S[0], BOUNDS_S[-1]) == (1e-4, 50.0)


def test_totals_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="refused: expected 0 or more, got -1"):
        Totals(refused=-1)
    with pytest.raises(ValueError, match="flagged: expected at most 1, got 2"):
        Totals(passed=1, refused=1, flagged=2)
    with pytest.raises(ValueError, match="counts: expected 19 numbers from 0"):
        Latency(counts=(1,))
    with pytest.raises(ValueError, match="sum_s: expected 0 or more, got nan"):
        Latency(sum_s=float("nan"))
