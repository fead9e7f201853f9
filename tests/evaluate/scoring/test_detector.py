from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_evaluate.scoring import risk_coverage, roc
from nip_evaluate.scoring.detector import auc
from nip_runtime.errors import InputError

_scores = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]) | st.floats(-5, 5), min_size=1, max_size=60)


def test_roc_by_hand() -> None:
    # Pairs (benign, success): 3 of 6 ranked rightly, 1 tie: (3 + 0.5) / 6.
    curve = roc("PGD", np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.5]))
    assert curve is not None
    assert np.array(curve.points) == pytest.approx(
        np.array([(0, 0), (1 / 3, 0), (1 / 3, 0.5), (2 / 3, 1), (1, 1)])
    )
    assert curve.auc.value == pytest.approx(3.5 / 6)
    assert (curve.benign, curve.successes, curve.auc.n) == (3, 2, 5)


def test_the_gate_takes_a_missing_score_for_the_highest() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([np.nan])).value == 1
    assert auc(np.array([np.nan]), np.array([np.nan])).value == 0.5


def test_a_perfect_detector_is_not_certainly_perfect() -> None:
    few = auc(np.zeros(20), np.ones(20))
    many = auc(np.zeros(500), np.ones(500))
    assert few.value == few.high == many.value == many.high == 1
    assert 0.8 < few.low < many.low < 1


def test_the_auc_interval_covers_the_truth() -> None:
    # Exponential suspicion, successes with three times the mean: AUC = 3 / (3 + 1), and Hanley's variance
    # is that of exponential distributions.
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        estimate = auc(rng.exponential(1, 60), rng.exponential(3, 40))
        covered += estimate.low <= 0.75 <= estimate.high
    assert 275 <= covered <= 295  # 285 expected


@settings(deadline=None)
@given(_scores, _scores)
def test_roc_rises_and_encloses_its_area(benign: list[float], successes: list[float]) -> None:
    curve = roc("any", np.array(benign, np.float32), np.array(successes, np.float32))
    assert curve is not None
    assert (curve.points[0], curve.points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert all(x <= u and y <= v for (x, y), (u, v) in pairwise(curve.points))
    area = sum((u - x) * (y + v) / 2 for (x, y), (u, v) in pairwise(curve.points))
    assert area == pytest.approx(curve.auc.value)  # few enough points that none is left out
    assert 0 <= curve.auc.low <= curve.auc.value <= curve.auc.high <= 1


def test_long_curves_are_thinned_without_changing_their_shape() -> None:
    rng = np.random.default_rng(4)
    curve = roc("PGD", rng.normal(0, 1, 3000), rng.normal(1.5, 1, 2000))
    assert curve is not None
    assert 100 <= len(curve.points) <= 200
    assert (curve.points[0], curve.points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    area = sum((u - x) * (y + v) / 2 for (x, y), (u, v) in pairwise(curve.points))
    assert area == pytest.approx(curve.auc.value, abs=2e-3)


def test_roc_without_successes_or_benign_images() -> None:
    assert roc("PGD", np.ones(3), np.ones(0)) is None
    with pytest.raises(InputError, match="expected benign images"):
        roc("PGD", np.ones(0), np.ones(3))


def test_risk_coverage_by_hand() -> None:
    # The two rows of suspicion 2, one of them wrong, are answered together.
    curve = risk_coverage("benign", np.array([2.0, 1.0, 2.0, np.nan]), np.array([1, 1, 0, 0], bool))
    assert np.array(curve.points) == pytest.approx(np.array([(0.25, 0), (0.75, 1 / 3), (1, 0.5)]))
    assert curve.n == 4


def test_risk_coverage_is_thinned_and_ends_with_all_rows() -> None:
    rng = np.random.default_rng(5)
    right = rng.random(5000) < 0.7
    curve = risk_coverage("all", rng.random(5000), right)
    assert 50 <= len(curve.points) <= 100
    coverage = [point[0] for point in curve.points]
    assert coverage == sorted(coverage)
    assert np.array(curve.points[-1]) == pytest.approx(np.array([1, 1 - right.mean()]))
    with pytest.raises(InputError, match="got 2 and 3"):
        risk_coverage("all", np.ones(2), np.ones(3, bool))
