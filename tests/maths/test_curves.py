from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.calibrate import fit_suspicion, fit_tail, weighted
from nip_export.calibrate.curves import LEAST_BEYOND, TAIL_LEVELS
from nip_export.defence.spec import Curve
from nip_export.defence.statistics import apply_curve
from nip_runtime.errors import ExportError
from tests.maths import by_hand

Doubles = NDArray[np.float64]
seeded = settings(max_examples=60, deadline=None, derandomize=True)

# Multiples of 1/64 collide often, so that quantiles tie.
samples = st.one_of(
    st.lists(st.integers(-640, 640).map(lambda k: k / 64), min_size=2, max_size=60),
    st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=2, max_size=60),
    st.integers(0, 999).map(lambda s: np.random.default_rng(s).standard_t(3, size=400).tolist()),
).map(lambda values: np.array(values, np.float64))


def at(curve: Curve, value: float) -> float:
    return float(apply_curve(curve, np.array([value]))[0])


def around(curve: Curve) -> Doubles:
    """Values on, between, before and behind a curve's knots, rising."""
    knots = curve.knots.astype(np.float64)
    span = max(float(np.ptp(knots)), 1.0)
    return np.unique(np.concatenate([knots, np.linspace(knots[0] - span, knots[-1] + span, 200)]))


def test_a_curve_by_hand() -> None:
    knots = np.array([1, 3], np.float32)
    c = Curve(0.5, knots, np.array([2, np.inf], np.float32), np.array([0.25, 2], np.float32))
    assert [at(c, s) for s in (-9, 1, 2, 3, 4, 13)] == [0.5, 0.5, 0.75, 1, 3, 21]


@seeded
@given(benign=samples)
def test_curves_evaluate_as_a_walk_along_their_pieces(benign: Doubles) -> None:
    for curve in (fit_tail(benign), fit_suspicion(benign)):
        values = around(curve)
        expected = [by_hand.curve(curve, value) for value in values.tolist()]
        np.testing.assert_allclose(apply_curve(curve, values), expected, rtol=1e-5, atol=1e-5)


@seeded
@given(benign=samples)
def test_curves_never_fall_and_never_jump(benign: Doubles) -> None:
    for curve in (fit_tail(benign), fit_suspicion(benign)):
        values = around(curve)
        rises = np.diff(apply_curve(curve, values))
        # Rounding in a sum of up to 15 steps.
        assert (rises >= -1e-9 * (1 + float(np.abs(apply_curve(curve, values)).max()))).all()
        steepest = float(curve.slopes.max())
        assert (rises <= 1.001 * steepest * np.diff(values) + 1e-6).all()


def levels_used(count: int) -> list[float]:
    return [level for level in TAIL_LEVELS if level * count >= LEAST_BEYOND]


@pytest.mark.parametrize("count", [60, 300, 2000])
def test_tail_scores_are_the_logarithm_of_the_benign_share_beyond_each_knot(count: int) -> None:
    benign = np.random.default_rng(count).normal(size=count)
    curve = fit_tail(benign)
    assert len(curve.knots) == len(levels_used(count))
    for knot, level in zip(curve.knots.tolist(), levels_used(count), strict=True):
        beyond = sum(value > knot for value in benign.tolist()) / count
        assert abs(beyond - level) <= 1 / count, "within one image of the level"
        assert at(curve, knot) == pytest.approx(-math.log10(level), abs=1e-5)


def test_before_the_first_knot_the_score_is_that_of_the_first_level() -> None:
    benign = np.random.default_rng(0).normal(size=500)
    assert at(fit_tail(benign), -1e6) == pytest.approx(-math.log10(0.9))


def test_behind_the_last_knot_the_tail_is_exponential_at_the_last_decades_rate() -> None:
    # P(s > t) = e^(−t) has −log₁₀ p = t / ln 10 everywhere, so the extrapolation must stay on that line.
    shares = (np.arange(5000) + 0.5) / 5000
    curve = fit_tail(-np.log(1 - shares))
    for value in (1.0, 4.0, 10.0, 40.0):
        assert at(curve, value) == pytest.approx(value / math.log(10), rel=0.01)
    # A tail twice as heavy beyond the ten percent point: the rate is that of the last decade alone.
    heavy = -np.log(1 - shares)
    heavy = np.where(heavy > math.log(10), 2 * heavy - math.log(10), heavy)
    curve = fit_tail(heavy)
    last = float(curve.knots[-1])
    assert at(curve, last + 7) - at(curve, last) == pytest.approx(7 / (2 * math.log(10)), rel=0.05)


def test_a_level_needs_five_images_beyond_it() -> None:
    random = np.random.default_rng(0)
    assert len(fit_tail(random.normal(size=500)).knots) == len(TAIL_LEVELS), "0.01 · 500 = 5"
    assert len(fit_tail(random.normal(size=499)).knots) == len(TAIL_LEVELS) - 1


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_few_images_still_give_a_rising_score(count: int) -> None:
    benign = np.random.default_rng(count).normal(size=count)
    curve = fit_tail(benign)
    assert at(curve, -1e3) == pytest.approx(-math.log10(0.9))
    slope = at(curve, 101.0) - at(curve, 100.0)
    assert slope == pytest.approx(1 / benign.std(), rel=1e-3), "one unit per standard deviation"


@pytest.mark.parametrize("value", [0.0, -3.25, 1e5])
def test_a_statistic_that_never_varies_is_unremarkable_where_it_is_and_remarkable_beyond(
    value: float,
) -> None:
    benign = np.full(200, value)
    tail, suspicion = fit_tail(benign), fit_suspicion(benign)
    beyond = value + 1 + abs(value) * 1e-3
    assert at(tail, value) <= 2
    assert at(tail, beyond) > at(tail, value) + 1
    assert at(suspicion, value) == 0
    assert at(suspicion, beyond) == pytest.approx(1)


@seeded
@given(benign=samples)
def test_suspicion_is_a_share(benign: Doubles) -> None:
    curve = fit_suspicion(benign)
    found = apply_curve(curve, around(curve))
    assert (found >= 0).all() and (found <= 1 + 1e-6).all()
    assert at(curve, float(benign.max()) + abs(float(benign.max())) * 1e-5 + 1e-5) == pytest.approx(
        1, abs=1e-5
    )


def test_suspicion_is_the_share_of_benign_scores_below() -> None:
    benign = np.random.default_rng(5).gamma(2, size=1000)
    curve = fit_suspicion(benign)
    for probe in np.quantile(benign, [0.05, 0.15, 0.42, 0.6, 0.85, 0.93, 0.97]).tolist():
        below = sum(score < probe for score in benign.tolist()) / 1000
        assert at(curve, probe) == pytest.approx(below, abs=0.02)
    assert at(curve, float(benign.min())) == pytest.approx(0, abs=1e-6)


GOOD = Curve(0.0, np.array([0, 1], np.float32), np.array([1, np.inf], np.float32), np.ones(2, np.float32))
NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("knots", [0, 0], "rising knots"),
        ("knots", [1, 0], "rising knots"),
        ("knots", [0], "one width and slope per knot"),
        ("knots", [[0, 1]], "one width and slope per knot"),
        ("knots", [0, np.inf], "infinite statistics"),
        ("knots", [NAN, 1], "infinite statistics"),
        ("widths", [0, 1], "positive widths"),
        ("widths", [-1, 1], "positive widths"),
        ("widths", [NAN, 1], "positive widths"),
        ("slopes", [1, -0.5], "slopes of at least 0"),
        ("slopes", [1, np.inf], "infinite statistics"),
    ],
)
def test_bad_knots_are_refused(field: str, value: list[float], problem: str) -> None:
    changed: dict[str, Any] = {field: np.array(value, np.float32)}
    with pytest.raises(ExportError, match=problem):
        replace(GOOD, **changed)


@pytest.mark.parametrize("base", [NAN, math.inf])
def test_a_bad_base_is_refused(base: float) -> None:
    with pytest.raises(ExportError, match="infinite statistics"):
        replace(GOOD, base=base)


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_statistics_that_are_not_finite_make_no_curve(bad: float) -> None:
    benign = np.append(np.random.default_rng(0).normal(size=20), [bad] * 20)
    with np.errstate(invalid="ignore"), pytest.raises(ExportError, match="infinite statistics"):
        fit_tail(benign)


@seeded
@given(benign=samples, weight=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))
def test_a_weighted_curve_is_the_curve_times_its_weight(benign: Doubles, weight: float) -> None:
    curve = fit_tail(benign)
    values = around(curve)
    expected = weight * apply_curve(curve, values)
    np.testing.assert_allclose(apply_curve(weighted(curve, weight), values), expected, rtol=1e-5, atol=1e-9)


def test_a_curve_of_weight_zero_says_nothing_of_anything() -> None:
    silent = weighted(fit_tail(np.random.default_rng(0).normal(size=200)), 0)
    assert apply_curve(silent, np.array([-1e30, 0, 3, 1e30])).tolist() == [0, 0, 0, 0]


def test_a_curve_does_not_tell_rounding_apart() -> None:
    """Where a view turns many saturated answers over, their change is 2 but for some millionths."""
    rng = np.random.default_rng(0)
    benign = np.concatenate([rng.uniform(0, 1, 60), 2 - rng.uniform(0, 2e-6, 40)])
    for curve in (fit_tail(benign), fit_suspicion(benign)):
        values = np.linspace(2 - 4e-6, 2 + 4e-6, 50)
        assert np.ptp(apply_curve(curve, values)) < 0.01
        assert np.ptp(apply_curve(curve, np.linspace(0, 2.1, 50))) > 0.3, "it still tells the others apart"
