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


def factors(values: Doubles, labels: Labels, *, classes: int, absent: tuple[int, ...] = ()) -> Doubles:
    """By how much the spread of each class (C,) is widened."""
    scale = fit_scale(values, labels, classes=classes)
    present = ~np.isin(np.arange(classes), (*range(labels.max() + 1, classes), *absent))
    found = absent_scale(values, scale, labels, present)
    np.testing.assert_array_equal(found.mean, scale.mean)
    with np.errstate(divide="ignore"):
        shares: Doubles = (scale.inverse_std / found.inverse_std).astype(np.float64)
    np.testing.assert_allclose(shares, shares[:, :1].repeat(shares.shape[1], 1), rtol=1e-4)
    return shares[:, 0]


def factor(values: Doubles, labels: Labels, *, classes: int) -> float:
    """That of a class that had no images at all."""
    return float(factors(values, labels, classes=classes)[-1])


def moves(counts: list[int], *, classes: int = 10) -> tuple[Doubles, Labels]:
    """Shifts (N, C) of classes that all move alike; 0 in the column of the predicted one, as shifts are."""
    labels = np.repeat(np.arange(len(counts)), counts)
    values = np.random.default_rng(1).normal(size=(len(labels), classes))
    values[np.arange(len(labels)), labels] = 0
    return values, labels


@pytest.mark.parametrize(("count", "doubt"), [(2, 3), (3, 2), (5, 1.5), (9, 1.25)])
def test_classes_that_move_alike_widen_by_the_doubt_about_the_next_alone(count: int, doubt: float) -> None:
    assert doubt <= factor(*changes([4.0] * count), classes=12) < 1.2 * doubt
    assert doubt <= factor(*moves([400] * count), classes=12 - 2) < 1.2 * doubt


@pytest.mark.parametrize(("counts", "doubt"), [([400, 400, 2], 2), ([800, 200, 20], 2), ([400, 20], 3)])
def test_classes_of_unlike_size_are_no_reason_to_widen_further(counts: list[int], doubt: float) -> None:
    assert doubt <= factor(*moves(counts), classes=10) < 1.3 * doubt


def test_two_classes_by_hand() -> None:
    low, high = np.arange(12.0), 40 + 3 * np.arange(12.0)
    values, labels = np.concatenate([low, high])[:, None], np.repeat([0, 1], 12)
    scale = fit_scale(values, labels, classes=4)
    standard = (values - scale.mean[labels]) * scale.inverse_std[labels]
    own = max(np.quantile(standard, HIGH), 1)
    # The upper class by the lower one's statistics. The other way round lies below 0.
    worst = np.quantile((high - low.mean()) / low.std(), HIGH)
    assert factor(values, labels, classes=4) == pytest.approx(3 * worst / own, rel=1e-3)


def test_a_class_with_some_images_needs_less_of_it_the_more_they_are() -> None:
    values, labels = moves([400, 400, 20, 60])
    found = factors(values, labels, classes=10, absent=(2, 3))
    whole = found[-1]
    # 20 pseudo-rows of all classes beside 20 and 60 own ones.
    assert found[2] == pytest.approx(1 / (1 - (1 - 1 / whole) * 20 / 40), rel=1e-3)
    assert found[3] == pytest.approx(1 / (1 - (1 - 1 / whole) * 20 / 80), rel=1e-3)
    only = factors(*moves([400, 20], classes=2), classes=2, absent=(1,))
    assert only[1] == pytest.approx(2), "two classes, of which one counts: its own images still tell"


def test_where_hardly_any_answer_moves_it_is_widened_and_not_silenced() -> None:
    labels = np.repeat(np.arange(5), 400)
    values = np.full((2000, 1), 2.0**-10)
    values[::33] = 1.5
    assert 1.5 <= factor(values, labels, classes=8) < 8


def test_classes_that_differ_widen_by_how_far_the_worst_stands_out() -> None:
    alike = factor(*changes([0.0, 0, 0, 0]), classes=10)
    apart = factor(*changes([0.0, 0, 0, 8]), classes=10)
    assert apart > 3 * alike


def test_shifts_are_judged_by_the_largest_of_another_class() -> None:
    own, labels = moves([300, 300, 300])
    alike = factor(own, labels, classes=10)
    moved = own.copy()
    moved[labels == 2, 0] += 9
    assert factor(moved, labels, classes=10) > 3 * alike
    # What the predicted class itself shows counts for nothing.
    ignored = own.copy()
    ignored[labels == 2, 2] += 9
    assert factor(ignored, labels, classes=10) == pytest.approx(alike, rel=0.02)


def test_one_class_tells_nothing_of_others_and_many_need_no_widening() -> None:
    assert factor(*changes([1.0]), classes=10) == np.inf
    values, labels = changes([0.0] * LEAST_CLASSES, rows=30)
    assert factor(values, labels, classes=30) == 1


def test_a_row_that_all_classes_share_stays_as_it_is() -> None:
    random = np.random.default_rng(2)
    values, labels = random.normal(size=(50, MOST_CLASSES + 1)), np.repeat([3, 4], 25)
    scale = fit_scale(values, labels, classes=MOST_CLASSES + 1)
    assert absent_scale(values, scale, labels, np.isin(np.arange(MOST_CLASSES + 1), labels)) is scale
