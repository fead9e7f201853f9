from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_runtime.errors import InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.rates import Rate
from nip_runtime.observe import Direction, DriftWatch, Expected, Learned
from nip_runtime.observe.expected import exact_interval
from nip_runtime.result import Reason
from tests.observe.answers import answer, flags

GUARDED = Path(__file__).parents[1] / "goldens" / "guarded.onnx"
USUAL = Expected(0.01, 0.03)


def drawn(rate: float, rows: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.random.default_rng(seed).random(rows) < rate


def test_a_rise_is_warned_of_with_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    watch = DriftWatch(USUAL)
    assert watch.see(drawn(0.02, 20_000)) == ()
    first, *_ = watch.see(drawn(0.2, 200, seed=1))
    assert first.direction is Direction.ABOVE
    assert 20_000 < first.row < 20_150
    assert 0.1 < first.seen.value < 0.5
    assert first.seen.n < 300
    assert first.e_value >= first.threshold == 2 * 100_000 / 0.01
    (record,) = caplog.records[:1]
    assert (record.levelno, record.name) == (logging.WARNING, "nip_runtime.observe.drift")
    assert record.getMessage() == (
        f"flag rate above what was expected: {first.seen.value:.2%} ({first.seen.count} of the last "
        f"{first.seen.n} rows), expected 1.00% to 3.00% (as given); e-value {first.e_value:.3g} against "
        f"2e+07, after {first.row} rows"
    )


def test_a_fall_is_warned_of_too() -> None:
    watch = DriftWatch(USUAL)
    watch.see(drawn(0.02, 20_000))
    alarms = [alarm for _ in range(300) for alarm in watch.see([False] * 10)]
    assert alarms[0].direction is Direction.BELOW
    assert alarms[0].row < 22_500
    assert alarms[0].seen.value < 0.01
    state = watch.state()
    assert (state.alarms_below, state.alarms_above) == (len(alarms), 0)


def test_rates_within_the_interval_are_left_alone() -> None:
    for rate in (0.01, 0.02, 0.03):
        assert DriftWatch(USUAL).see(drawn(rate, 100_000, seed=3)) == ()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), max_size=120), st.lists(st.integers(0, 120), max_size=6))
def test_batches_make_no_difference(rows: list[bool], cuts: list[int]) -> None:
    whole, parts = DriftWatch(USUAL), DriftWatch(USUAL)
    found = whole.see(rows)
    first_of_parts = [
        alarm for part in np.split(np.array(rows, dtype=bool), sorted(cuts)) for alarm in parts.see(part)
    ]
    assert [alarm.row for alarm in first_of_parts] == [alarm.row for alarm in found]
    one, other = whole.state(), parts.state()
    assert (one.rows, one.flagged) == (other.rows, other.flagged) == (len(rows), sum(rows))
    assert one.evidence_above == pytest.approx(other.evidence_above)
    assert one.evidence_below == pytest.approx(other.evidence_below)


def test_a_lasting_drift_is_logged_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    watch = DriftWatch(USUAL, horizon_rows=1000)
    alarms = watch.see([True] * 200)
    assert watch.state().alarms_above == len(alarms) > 30
    assert len(caplog.records) == math.floor(math.log2(len(alarms))) + 1
    watch.see(drawn(0.02, 3000))
    caplog.clear()
    watch.see([True] * 8)  # after so many calm rows this is news
    assert len(caplog.records) == 1


def test_evidence_starts_anew_after_an_alarm() -> None:
    watch = DriftWatch(USUAL)
    while not watch.see([True]):
        assert watch.state().last_alarm is None
        assert watch.state().rows < 100
    state = watch.state()
    assert (state.evidence_above, state.evidence_below) == (0.0, 0.0)
    assert state.last_alarm is not None
    assert state.last_alarm.row == state.rows == state.flagged


def test_refused_rows_never_reached_the_gate() -> None:
    watch = DriftWatch(USUAL)
    for _ in range(50):
        watch.observe(answer([Reason.REFUSED, Reason.PASSED, Reason.REFUSED]), duration_s=0.1)
    assert (watch.state().rows, watch.state().flagged) == (50, 0)
    watch.observe(answer([Reason.REFUSED, Reason.PASSED, Reason.DETECTED]), duration_s=0.1)
    watch.observe(flags(), duration_s=0.1)
    assert (watch.state().rows, watch.state().flagged) == (52, 1)


def test_one_sided_intervals_have_one_threshold() -> None:
    no_floor, no_ceiling = DriftWatch(Expected(0.0, 0.03)), DriftWatch(Expected(0.01, 1.0))
    assert no_floor.see([False] * 10**6) == ()
    assert no_ceiling.see([True] * 10**4) == ()
    assert no_floor.state().threshold == no_ceiling.state().threshold == 100_000 / 0.01
    assert no_floor.see([True] * 20)[0].direction is Direction.ABOVE
    assert no_ceiling.see([False] * 10**4)[0].direction is Direction.BELOW


@pytest.mark.parametrize("size", [1, 7, 1500])
def test_learns_from_the_first_rows(size: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch, rows = DriftWatch(Learned(rows=1000)), drawn(0.05, 1500)
    for start in range(0, 1500, size):
        watch.see(rows[start : start + size])
        if start + size < 1000:
            assert watch.state().expected is None
    state = watch.state()
    assert state.expected == Expected.from_rate(Rate(int(rows[:1000].sum()), 1000))
    assert (state.rows, state.flagged) == (1500, int(rows.sum()))
    other = DriftWatch(state.expected)
    other.see(rows[1000:])
    assert state.evidence_above == pytest.approx(other.state().evidence_above)
    assert caplog.messages == [f"flag rate learned: from now on expected {state.expected}"]


def test_learns_with_the_confidence_asked_for() -> None:
    watch = DriftWatch(Learned(rows=200, confidence=0.8))
    watch.see([True] * 10 + [False] * 190)
    assert watch.state().expected == Expected.from_rate(Rate(10, 200), confidence=0.8)


def test_the_rate_of_all_benign_rows_stands_in_the_manifest() -> None:
    manifest = read_artifact(GUARDED).manifest
    measured = manifest.flag_rate_all
    assert measured is not None and measured.n == manifest.calibration.images
    expected = Expected.from_manifest(manifest)
    assert (expected.low, expected.high) == exact_interval(measured, 0.99)
    assert str(expected).endswith("(as calibration measured)")
    wider = Expected.from_manifest(manifest, confidence=0.9999)
    assert (wider.low, wider.high) == exact_interval(measured, 0.9999) != (expected.low, expected.high)


def test_what_older_manifests_say_about_all_benign_rows() -> None:
    manifest = replace(read_artifact(GUARDED).manifest, flag_rate_all=None)
    calibration = replace(
        manifest.calibration,
        images=1500,
        flag_rate=Rate(20, 1403),
        pass2_rate=Rate(573, 1500),
        accuracy_raw=Rate(1403, 1500),
    )
    expected = Expected.from_manifest(replace(manifest, calibration=calibration))
    assert expected.low == exact_interval(Rate(20, 1500), 0.99)[0]  # if no misclassified image was flagged
    assert expected.high == exact_interval(Rate(20 + 97, 1500), 0.99)[1]  # if all of them were
    assert str(expected) == "0.69% to 9.75% (bounds from 1500 calibration images)"
    told = replace(manifest, calibration=calibration, flag_rate_all=Rate(23, 1500))
    assert str(Expected.from_manifest(told)) == "0.84% to 2.55% (as calibration measured)"
    few = replace(calibration, pass2_rate=Rate(60, 1500))  # but no more than took the second pass
    assert Expected.from_manifest(replace(manifest, calibration=few)).high == pytest.approx(
        exact_interval(Rate(60, 1500), 0.99)[1]
    )


@pytest.mark.parametrize(("count", "n"), [(0, 10), (10, 10), (1, 40), (23, 1500), (700, 1000), (3, 10**6)])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_exact_intervals_are_those_of_the_beta_distribution(count: int, n: int, confidence: float) -> None:
    from scipy.stats import beta  # type: ignore[import-untyped]  # no stubs

    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else beta.ppf(tail, count, n - count + 1)
    high = 1.0 if count == n else beta.ppf(1 - tail, count + 1, n - count)
    assert exact_interval(Rate(count, n), confidence) == pytest.approx((low, high), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    "given", [True, [[True, False, True]], [0.2, 0.9], [0, 1], np.zeros((2, 1), bool), "tf"]
)
def test_refuses_what_are_no_flags(given: Any) -> None:
    watch = DriftWatch(USUAL)
    with pytest.raises(InputError, match=r"expected flags \(N,\) of type bool, got "):
        watch.see(given)
    assert watch.see([]) == watch.see(np.zeros(0, bool)) == ()
    assert watch.state().rows == 0


def test_refuses_what_is_no_interval_or_probability() -> None:
    for low, high in ((0.2, 0.1), (-0.1, 0.5), (0.5, 1.1), (0.0, 0.0), (1.0, 1.0), (float("nan"), 0.5)):
        with pytest.raises(InputError, match="expected flag rates 0 ≤ low ≤ high ≤ 1"):
            Expected(low, high)
    for other in (None, (0.01, 0.03), 0.02):
        with pytest.raises(InputError, match="expected an Expected or a Learned rate"):
            DriftWatch(other)  # type: ignore[arg-type]
    for alpha in (0.0, 1.0, float("nan"), "0.01"):
        with pytest.raises(InputError, match="expected alpha between 0 and 1"):
            DriftWatch(USUAL, alpha=alpha)  # type: ignore[arg-type]
    # Against a horizon of NaN no evidence would ever be enough.
    for rows in (0, float("nan"), 1e6, "many"):
        with pytest.raises(InputError, match=f"expected horizon_rows of at least 1, got {rows!r}"):
            DriftWatch(USUAL, horizon_rows=rows)  # type: ignore[arg-type]
    for rows in (99, float("nan"), 5e3):
        with pytest.raises(InputError, match=f"expected rows to learn from of at least 100, got {rows!r}"):
            Learned(rows=rows)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected confidence between 0 and 1, got 1"):
        Learned(confidence=1)
    with pytest.raises(InputError, match="expected confidence between 0 and 1, got 0"):
        Expected.from_rate(Rate(1, 10), confidence=0)
