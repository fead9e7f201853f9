"""What the second look must show of classes that had no images."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export.calibrate import fit_scale
from nip_export.calibrate.absent import HIGH, LEAST_CLASSES, absent_scale
from nip_export.calibrate.scales import MOST_CLASSES

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]


def changes(means: list[float], *, spread: float = 1.0, rows: int = 400) -> tuple[Doubles, Labels]:
    """A statistic (N, 1) of classes that differ in their means alone."""
    labels = np.repeat(np.arange(len(means)), rows)
    drawn = np.random.default_rng(0).normal(0, spread, len(labels))
    return (np.array(means)[labels] + drawn)[:, None], labels


def factor(values: Doubles, labels: Labels, *, classes: int) -> float:
    """By how much the spread is widened."""
    scale = fit_scale(values, labels, classes=classes)
    found = absent_scale(values, scale, labels)
    np.testing.assert_array_equal(found.mean, scale.mean)
    shares = np.unique((found.inverse_std / scale.inverse_std).round(5))
    assert len(shares) == 1, "for all classes alike"
    return float(1 / shares[0]) if shares[0] else np.inf


@pytest.mark.parametrize(("count", "doubt"), [(2, 3), (3, 2), (5, 1.5), (9, 1.25)])
def test_classes_that_move_alike_widen_by_the_doubt_about_the_next_alone(count: int, doubt: float) -> None:
    values, labels = changes([4.0] * count)
    assert doubt <= factor(values, labels, classes=12) < 1.2 * doubt


def test_two_classes_by_hand() -> None:
    values = np.array([0.0, 1, 2, 3, 4, 10, 12, 14, 16, 18])[:, None]
    labels = np.repeat([0, 1], 5)
    scale = fit_scale(values, labels, classes=4)
    rows = labels[:, None]
    own = np.quantile((values - scale.mean[rows[:, 0]]) * scale.inverse_std[rows[:, 0]], HIGH)
    # The upper class by the lower one's statistics: mean 2, deviation √2. The other way round lies below 0.
    worst = np.quantile((values[5:] - 2) / np.sqrt(2), HIGH)
    assert factor(values, labels, classes=4) == pytest.approx(3 * worst / own, rel=1e-3)


def test_classes_that_differ_widen_by_how_far_the_worst_stands_out() -> None:
    alike = factor(*changes([0.0, 0, 0, 0]), classes=10)
    apart = factor(*changes([0.0, 0, 0, 8]), classes=10)
    assert apart > 3 * alike


def test_shifts_are_judged_by_the_largest_of_another_class() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 300)
    values = random.normal(size=(900, 3))
    own = values.copy()
    own[np.arange(900), labels] = 0
    moved = own.copy()
    moved[labels == 2, 0] += 9
    assert factor(moved, labels, classes=3) > 3 * factor(own, labels, classes=3)
    # What the predicted class itself shows counts for nothing.
    ignored = own.copy()
    ignored[labels == 2, 2] += 9
    assert factor(ignored, labels, classes=3) < 1.5 * factor(own, labels, classes=3)


def test_one_class_tells_nothing_of_others_and_many_need_no_widening() -> None:
    assert factor(*changes([1.0]), classes=10) == np.inf
    values, labels = changes([0.0] * LEAST_CLASSES, rows=30)
    assert factor(values, labels, classes=30) == 1


def test_a_row_that_all_classes_share_stays_as_it_is() -> None:
    random = np.random.default_rng(2)
    values, labels = random.normal(size=(50, MOST_CLASSES + 1)), np.repeat([3, 4], 25)
    scale = fit_scale(values, labels, classes=MOST_CLASSES + 1)
    assert absent_scale(values, scale, labels) is scale
