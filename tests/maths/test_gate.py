from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_evaluate.baselines.variants import ONE_PASS, SILENCED, VariantKind
from nip_export.calibrate import fit_scale, fit_tail, weighted
from nip_export.calibrate.gate import allowed_flags, cut
from nip_export.calibrate.scales import silent, with_rows
from nip_export.defence import statistics
from nip_export.defence.spec import ClassScale
from tests.maths.benign_like import EARLY_WEIGHT, Statistics, benign_statistics, known_of, statistics_of

seeded = settings(max_examples=80, deadline=None, derandomize=True)
rates = st.tuples(
    st.sampled_from([0.005, 0.02, 0.05, 0.2, 0.5]), st.sampled_from([None, 0.05, 0.2, 0.4, 1.0])
).filter(lambda pair: pair[1] is None or pair[0] <= pair[1])


@seeded
@given(rows=benign_statistics, rate=rates)
def test_neither_budget_nor_screen_rate_is_exceeded_on_the_rows_of_the_fit(
    rows: Statistics, rate: tuple[float, float | None]
) -> None:
    budget, screen_rate = rate
    gate = rows.fit(budget=budget, screen_rate=screen_rate)
    reading = rows.read(gate)
    count = len(rows.raw)
    assert reading.flagged.sum() <= budget * count
    assert reading.screened.sum() <= (count if screen_rate is None else screen_rate * count)
    assert not (reading.flagged & ~reading.screened).any()
    assert np.isfinite(reading.score).all()
    assert (reading.suspicion >= 0).all() and (reading.suspicion <= 1).all()


@pytest.mark.parametrize("screen_rate", [None, 0.4])
def test_the_budget_is_used_up_where_nothing_ties(screen_rate: float | None) -> None:
    rows = statistics_of(0, rows=1000)
    reading = rows.read(rows.fit(budget=0.05, screen_rate=screen_rate))
    assert reading.flagged.sum() == allowed_flags(1000, 0.05) > 30
    assert reading.screened.sum() == (1000 if screen_rate is None else allowed_flags(1000, screen_rate))


def test_flagged_rows_are_the_highest_scores_among_the_screened() -> None:
    rows = statistics_of(1, rows=600)
    reading = rows.read(rows.fit(budget=0.1, screen_rate=0.5))
    assert reading.score[reading.flagged].min() > reading.score[reading.screened & ~reading.flagged].max()
    assert reading.free[reading.screened].min() > reading.free[~reading.screened].max()


def one(
    early: list[float], raw: list[float], second: list[float], features: Sequence[float] | NDArray[np.float32]
) -> Statistics:
    return Statistics(*(np.array(values, np.float64)[None] for values in (early, raw, second, features)))


def test_a_row_that_fails_all_tests_is_flagged_and_one_that_fails_none_is_not() -> None:
    rows = statistics_of(2, rows=500)
    gate = rows.fit(budget=0.02, screen_rate=0.4)
    centre = rows.known.typicality.centres[0]
    attacked = one([-9, -0.1, -9, -9], [6, 0, 0, 0], [0, 9, 0, 0], centre + 9).read(gate)
    benign = one([-0.1, -9, -9, -9], [6, 0, 0, 0], [9, 0, 0, 0], centre).read(gate)
    assert attacked.flagged.all() and (attacked.suspicion > 0.99).all()
    assert not benign.screened.any() and not benign.flagged.any()


@pytest.mark.parametrize("test", ["disagreement", "typicality", "response", "change"])
def test_each_test_alone_raises_the_score(test: str) -> None:
    rows = statistics_of(2, rows=500)
    gate = rows.fit(budget=0.02, screen_rate=None)
    centre = rows.known.typicality.centres[0]
    calm: tuple[list[float], list[float], list[float], list[float]] = (
        [-0.1, -9, -9, -9],
        [6, 0, 0, 0],
        [8, 0, 0, 0],
        centre.tolist(),
    )
    early, raw, second, features = calm
    if test == "disagreement":
        early = [-9, -0.1, -9, -9]
    if test == "typicality":
        features = (centre + 9).tolist()
    if test == "response":  # margins of 90 to 70: no probability moves
        raw, second = [100, 10, 0, 0], [100, 30, 0, 0]
    if test == "change":  # every margin grows: nothing shifts towards another class
        raw, second = [0.5, 0, 0, 0], [6, 0, 0, 0]
    before, after = (one(*values).read(gate) for values in (calm, (early, raw, second, features)))
    assert after.score[0] > before.score[0] + 0.5
    free = test in ("disagreement", "typicality")
    assert (after.free[0] > before.free[0]) == free
    tail: dict[str, Any] = {f"{test}_tail": weighted(getattr(gate, f"{test}_tail"), 0)}
    silenced = replace(gate, **tail)
    quiet = [one(*values).read(silenced).score[0] for values in (calm, (early, raw, second, features))]
    assert quiet[1] <= quiet[0] + 1e-9, "nothing else saw it"


TAILS = ("disagreement_tail", "typicality_tail", "response_tail", "change_tail")


@pytest.mark.parametrize("kind", VariantKind)
def test_a_variant_silences_the_tests_that_it_leaves_out_and_nothing_else(kind: VariantKind) -> None:
    gate = statistics_of(3, rows=200).fit(budget=0.05, screen_rate=0.4)
    changed, silenced = kind.change(gate), SILENCED.get(kind, ())
    assert {f"{test}_tail" for test in silenced} <= set(TAILS)
    probes = np.linspace(-5, 5, 41)
    for name in TAILS:
        before, after = (statistics.apply_curve(getattr(each, name), probes) for each in (gate, changed))
        assert before.max() > 0
        expected = 0 * before if name.removesuffix("_tail") in silenced else before
        np.testing.assert_array_equal(after, expected, err_msg=name)
    for field in fields(gate):
        if field.name == "response_scale" and kind in ONE_PASS:
            assert not changed.response_scale.inverse_std.any(), "no shift may name the answer"
        elif field.name not in TAILS:
            assert getattr(changed, field.name) is getattr(gate, field.name), field.name
    names = {
        VariantKind.NO_DISAGREEMENT: {"disagreement"},
        VariantKind.NO_TYPICALITY: {"typicality"},
        VariantKind.NO_RESPONSE: {"response", "change"},
        VariantKind.NO_CHANGE: {"change"},
        VariantKind.EARLY_ALONE: {"typicality", "response", "change"},
        VariantKind.TYPICALITY_ALONE: {"disagreement", "response", "change"},
        VariantKind.RESPONSE_ALONE: {"disagreement", "typicality"},
    }
    assert set(silenced) == names.get(kind, set()), "as the variant's name says"


def test_the_tests_count_what_their_weights_say() -> None:
    rows = statistics_of(5, rows=400)
    gate = rows.fit(budget=0.05, screen_rate=None)
    look = rows.look
    gap = statistics.standardise(
        statistics.disagreement(look.early, look.predicted), gate.disagreement_scale, look.predicted
    )[:, 0]
    alone = fit_tail(gap)
    np.testing.assert_allclose(gate.disagreement_tail.knots, alone.knots)
    # −log₁₀ of the benign share beyond, times a half for all but the response.
    shares = {"disagreement": 0.5, "typicality": 0.5, "response": 1.0, "change": 0.5}
    for test, weight in shares.items():
        assert getattr(gate, f"{test}_tail").base == pytest.approx(-weight * math.log10(0.9)), test
    assert gate.early_weight == EARLY_WEIGHT


@seeded
@given(rows=benign_statistics)
def test_rows_that_are_not_a_number_are_flagged(rows: Statistics) -> None:
    gate = rows.fit(budget=0.05, screen_rate=0.4)
    nothing, nowhere = np.full_like(rows.raw, np.nan), np.full_like(rows.features, np.nan)
    with np.errstate(invalid="ignore"):
        for raw in (nothing, rows.raw):
            for early, features in ((nothing, nowhere), (nothing, rows.features), (rows.early, nowhere)):
                reading = Statistics(early, raw, nothing, features).read(gate)
                assert reading.screened.all() and reading.flagged.all()
        second = replace(rows, second=nothing).read(gate)
    assert np.array_equal(second.flagged, second.screened), "only pass 2 failed"


def test_a_gate_without_a_screen_sends_every_row() -> None:
    rows = statistics_of(3)
    gate = rows.fit(budget=0.1, screen_rate=None)
    assert gate.screen_threshold is None
    assert rows.read(gate).screened.all()


def test_a_row_on_a_threshold_passes() -> None:
    rows = statistics_of(4)
    gate = rows.fit(budget=0.1, screen_rate=0.5)
    reading = rows.read(gate)
    row = int(reading.score.argmax())
    on_it = replace(gate, flag_threshold=float(reading.score[row]), screen_threshold=None)
    assert not rows.read(on_it).flagged[row]


def test_cut_by_hand() -> None:
    scores = np.array([4.0, 1, 3, 2])
    assert cut(scores, 1) == 3.5
    assert cut(scores, 2) == 2.5
    assert cut(scores, 3) == 1.5
    for none in (0, -1):
        assert 4 < cut(scores, none) < 4.01
        assert 0 < cut(np.array([-1e6, 0]), none) < 0.01, "near the largest, however far off the others are"
        assert np.float32(cut(np.array([0, 1e6]), none)) > 1e6, "in the file's precision too"
    for everything in (4, 9):
        assert cut(scores, everything) < 1
    assert 2 < cut(np.array([1.0, 2, 2, 2]), 1) < 2.01, "ties stay below: rather too few than too many"
    assert 2 < cut(np.array([1.0, 2, 2, 2, 5]), 3) < 2.01, "and a threshold that equals them is none"
    apart = 2 * (1 + 1e-6) - 2
    assert 2 < cut(np.array([1.0, 2 - apart / 8, 2, 3]), 2) < 2.01, "nor where float32 tells them not apart"
    assert cut(np.array([1.0, 2 - 4 * apart, 2, 3]), 2) == pytest.approx(2 - 2 * apart, abs=1e-9)


@seeded
@given(
    scores=st.lists(st.one_of(st.floats(-1e9, 1e9), st.integers(-3, 3).map(float)), min_size=1, max_size=40),
    exceeding=st.integers(-1, 45),
)
def test_a_cut_is_never_exceeded_by_more_scores_than_it_allows(scores: list[float], exceeding: int) -> None:
    threshold = cut(np.array(scores), exceeding)
    beyond = sum(score > threshold for score in scores)
    assert beyond <= max(exceeding, 0)
    assert all(np.float32(score) != np.float32(threshold) for score in scores)
    ordered = np.sort(scores)
    if (np.diff(ordered) > 2e-6 * (1 + np.abs(ordered[:-1]))).all():
        assert beyond == max(min(exceeding, len(scores)), 0)


def chance_of_at_most(flags: int, count: int, budget: Fraction) -> Fraction:
    """Exact binomial P(X ≤ flags)."""
    return sum(
        (Fraction(math.comb(count, k)) * budget**k * (1 - budget) ** (count - k) for k in range(flags + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize(
    ("count", "budget"),
    [(50, 0.02), (114, 0.02), (115, 0.02), (300, 0.02), (700, 0.05), (60, 0.5), (100, 0.9), (300, 0.75)],
)
def test_allowed_flags_are_as_many_as_the_exact_binomial_bound_permits(count: int, budget: float) -> None:
    allowed, exact = allowed_flags(count, budget), Fraction(str(budget))
    if allowed >= 0:
        assert chance_of_at_most(allowed, count, exact) <= Fraction(1, 10)
    assert chance_of_at_most(allowed + 1, count, exact) > Fraction(1, 10)


def test_allowed_flags_by_hand() -> None:
    # At a rate of ½, of 4 inputs 0 are flagged with probability 1/16 ≤ 0.1, at most 1 with 5/16 > 0.1.
    assert allowed_flags(4, 0.5) == 0
    assert allowed_flags(3, 0.5) == -1, "1/8 > 0.1: three inputs cannot show a rate below ½"


@pytest.mark.parametrize(("count", "budget"), [(300, 0.02), (300, 0.1), (1400, 0.02)])
def test_a_cut_at_the_allowed_flags_keeps_the_budget_for_nine_of_ten_sets(count: int, budget: float) -> None:
    # Uniform scores exceed a threshold t with probability 1 − t, so the true rate is known exactly.
    random = np.random.default_rng(0)
    allowed = allowed_flags(count, budget)
    rates = np.array([1 - cut(random.random(count), allowed) for _ in range(2000)])
    assert 0.88 <= (rates <= budget).mean() <= 0.98


@pytest.mark.parametrize(("rows", "classes", "budget"), [(300, 4, 0.1), (600, 10, 0.05)])
def test_a_gate_keeps_the_budget_on_other_rows_on_average(rows: int, classes: int, budget: float) -> None:
    # On average, not for nine of ten sets: scales and tails are fitted to the same rows, which makes these
    # look a little more ordinary than others like them.
    rates = []
    for seed in range(40):
        everyone = statistics_of(seed, rows=rows + 1500, classes=classes)
        seen, other = (everyone.take(part) for part in (slice(rows), slice(rows, None)))
        gate = seen.fit(budget=budget, screen_rate=0.4)
        rates.append(other.read(gate).flagged.mean())
    assert budget / 2 <= np.mean(rates) <= budget


def test_scales_shrink_towards_what_all_classes_share_by_hand() -> None:
    # All: mean 2, variance ((−2)² + 0 + 0 + 2²)/4 = 2. Class 0 has 0, 2, 2: sum 4, squares about its mean
    # 4/3 are 16/9 + 4/9 + 4/9 = 8/3. With 20 rows of the shared statistics:
    values, predicted = np.array([[0.0], [2], [2], [4]]), np.array([0, 0, 0, 2])
    scale = fit_scale(values, predicted, classes=3)
    means = [(4 + 20 * 2) / 23, 2, (4 + 20 * 2) / 21]
    variances = [(8 / 3 + 20 * 2) / 23, 2, (0 + 20 * 2) / 21]
    np.testing.assert_allclose(scale.mean[:, 0], means, rtol=1e-6)
    np.testing.assert_allclose(scale.inverse_std[:, 0], [1 / math.sqrt(v) for v in variances], rtol=1e-6)
    assert scale.per_class


def test_many_rows_speak_for_themselves_and_columns_stay_apart() -> None:
    random = np.random.default_rng(0)
    predicted = random.integers(2, size=20_000)
    values = random.normal(size=(20_000, 2)) * [1, 5] + np.array([[0, 100], [7, -3]])[predicted]
    scale = fit_scale(values, predicted, classes=2)
    np.testing.assert_allclose(scale.mean, [[0, 100], [7, -3]], atol=0.4)
    np.testing.assert_allclose(1 / scale.inverse_std[:, 0], [1, 1], rtol=0.05)


def test_a_single_statistic_stays_each_classs_own_however_many_classes_there_are() -> None:
    scale = fit_scale(np.array([[1.0], [3]]), np.array([0, 1]), classes=1000)
    assert scale.mean.shape == scale.inverse_std.shape == (1000, 1)
    # Shared: mean 2, variance 1. A class of one row: (1 + 20 · 2) / 21, and one without any.
    np.testing.assert_allclose(scale.mean[[0, 1, 999], 0], [41 / 21, 43 / 21, 2], rtol=1e-6)


def test_rows_of_another_scale_by_hand() -> None:
    scale = ClassScale(np.array([[1], [2], [3]], np.float32), np.array([[4], [5], [6]], np.float32))
    shared = ClassScale(np.array([[7]], np.float32), np.array([[8]], np.float32))
    mixed = with_rows(scale, shared, np.array([False, True, False]))
    assert (mixed.mean.tolist(), mixed.inverse_std.tolist()) == ([[1], [7], [3]], [[4], [8], [6]])
    quiet = with_rows(scale, silent(3), np.array([True, False, True]))
    values, predicted = np.array([[9.0], [9], [9]]), np.arange(3)
    assert statistics.standardise(values, quiet, predicted).tolist() == [[0], [35], [0]]


@pytest.mark.parametrize(("classes", "rows"), [(100, 100), (101, 1), (1000, 1)])
def test_above_a_hundred_classes_share_one_row(classes: int, rows: int) -> None:
    values = np.array([[1.0, 0], [3, 0]])
    scale = fit_scale(values, np.array([0, 1]), classes=classes)
    assert scale.mean.shape == scale.inverse_std.shape == (rows, 2)
    if rows == 1:
        assert (scale.mean[0, 0], scale.inverse_std[0, 0]) == (2, 1)


def test_a_statistic_that_never_varies_keeps_a_finite_scale() -> None:
    scale = fit_scale(np.full((50, 1), 3.0), np.zeros(50, np.int64), classes=2)
    assert np.isfinite(scale.inverse_std).all() and (scale.inverse_std <= 1e6 + 1).all()


def test_the_networks_own_last_layer_is_known_by_an_equal_name() -> None:
    known = known_of(4)
    named = "".join(["feat", "ures"])  # as names read from a file are: equal, and not the same string
    assert named is not known.typicality.tap and not known.own
    own = replace(known, readouts=tuple(replace(one, tap=named) for one in known.readouts))
    assert own.own
    assert not replace(own, readouts=(*own.readouts, *known.readouts)).own, "one other layer knows more"
