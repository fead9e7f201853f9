from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_evaluate.scoring import trade_off
from nip_evaluate.scoring.trade_off import Sweep, thresholds
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import AttackCase
from nip_runtime.errors import InputError
from nip_runtime.file.rates import Rate
from tests.evaluate.scoring.made import case


def gate(seed: int, count: int, *, shift: float, raw_right: float, corrected_right: float) -> GateView:
    """Truth is class 1 everywhere."""
    rng = np.random.default_rng(seed)
    return GateView(
        score=rng.normal(shift, 1, count),
        flaggable=rng.random(count) < 0.8,
        raw_labels=(rng.random(count) < raw_right).astype(np.int64),
        corrected_labels=(rng.random(count) < corrected_right).astype(np.int64),
    )


def situation(seed: int, count: int = 400) -> tuple[GateView, np.ndarray, list[tuple[AttackCase, GateView]]]:
    benign = gate(seed, count, shift=0, raw_right=0.9, corrected_right=0.6)
    attacks = [
        (case("a"), gate(seed + 1, count, shift=2, raw_right=0.1, corrected_right=0.7)),
        (case("b"), gate(seed + 2, count // 2, shift=1, raw_right=0.3, corrected_right=0.7)),
        (case("c", core=False), gate(seed + 3, count, shift=0, raw_right=0.0, corrected_right=0.0)),
    ]
    return benign, np.ones(count, np.int64), attacks


def test_points_spread_from_no_flags_to_fifteen_percent() -> None:
    benign, labels, attacks = situation(0)
    curve = trade_off("file", benign, labels, attacks, chosen=1.5)
    assert curve is not None and curve.chosen is not None
    rates = [point.flagged.value for point in curve.points]
    assert rates == sorted(rates)
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.15, abs=0.003)
    assert 15 <= len(rates) <= 26
    assert sum(rate < 0.02 for rate in rates) >= 6  # small costs are looked at closely
    assert curve.points[curve.chosen].threshold == 1.5
    dsr = [point.mean_dsr.value for point in curve.points]
    assert dsr == sorted(dsr) and dsr[-1] > 0.3
    assert curve.points[-1].cost.value > curve.points[0].cost.value == 0


def test_one_point_by_hand() -> None:
    truth = np.array([1, 1, 1, 1])
    raw = np.array([1, 1, 1, 0])
    benign = GateView(np.array([0.0, 1, 2, 3]), np.ones(4, bool), raw, np.array([1, 1, 0, 1]))
    # Row 3 was wrong before; row 2 cannot be flagged.
    after = GateView(
        np.array([1.0, 2, 3, 3]), np.array([1, 1, 0, 1], bool), np.zeros(4, np.int64), np.ones(4, np.int64)
    )
    sweep = Sweep.of(benign, truth, [(case(), after)])
    assert sweep is not None
    point = sweep.at(1.5)
    assert point.flagged == Rate(2, 4)
    assert point.cost.value == 0  # row 2 spoilt, row 3 put right
    assert point.mean_dsr.value == pytest.approx(1 / 3)
    assert sweep.at(0.5).mean_dsr.value == pytest.approx(2 / 3)
    assert sweep.at(2.0).flagged == Rate(1, 4)  # at the threshold is not above it


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_at_the_extremes(seed: int) -> None:
    benign, labels, attacks = situation(seed, count=60)
    sweep = Sweep.of(benign, labels, attacks)
    assert sweep is not None
    never, always = sweep.at(math.inf), sweep.at(-math.inf)
    assert (never.flagged.count, never.cost.value, never.mean_dsr.value) == (0, 0, 0)
    assert never.mean_dsr.low == 0 < never.mean_dsr.high
    assert always.flagged.count == benign.flaggable.sum()
    assert always.cost.low <= always.cost.value <= always.cost.high


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0, math.inf, math.nan]), min_size=1, max_size=30),
    st.integers(1, 30),
)
def test_thresholds_fall_and_are_finite_whatever_the_scores(scores: list[float], points: int) -> None:
    count = len(scores)
    zeros = np.zeros(count, np.int64)
    view = GateView(np.array(scores), np.ones(count, bool), zeros, zeros)
    found = thresholds(view, points=points)
    assert len(found) <= max(points, 2)
    assert all(math.isfinite(t) for t in found)
    assert found == sorted(set(found), reverse=True)
    if found:
        assert view.flagged(found[0]).sum() == np.sum(~np.isfinite(view.score))


def test_where_few_rows_can_be_flagged_the_last_threshold_flags_them_all() -> None:
    flaggable = np.zeros(100, bool)
    flaggable[:5] = True
    zeros = np.zeros(100, np.int64)
    view = GateView(np.arange(100.0), flaggable, zeros, zeros)
    found = thresholds(view, points=25)
    assert [int(view.flagged(t).sum()) for t in found] == [0, 1, 2, 3, 4, 5]


def test_without_a_success_or_anything_to_flag_there_is_no_curve() -> None:
    benign, labels, attacks = situation(3)
    assert trade_off("file", benign, labels, attacks[2:], chosen=None) is None  # not core
    still = GateView(benign.score, np.zeros(400, bool), benign.raw_labels, benign.corrected_labels)
    assert trade_off("file", still, labels, attacks, chosen=None) is None
    with pytest.raises(InputError, match="400 benign images"):
        trade_off("file", benign, labels[:3], attacks, chosen=None)
