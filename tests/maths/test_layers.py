from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export.defence import statistics
from nip_export.defence.spec import ReadOut
from nip_export.fit.layers import WIDEST, LayerReport, choose_readouts, grid_of, grids_of
from nip_export.fit.profiles import fit_readout, fit_temperature
from nip_export.network import TapKind
from nip_export.network.plan import Tap, TapPlan
from nip_export.network.run import Passed, TapCells
from nip_runtime.errors import ExportError

CLASSES = 5
Labels = NDArray[np.int64]


def opinions(labels: Labels, right: float, seed: int) -> NDArray[np.float32]:
    """Activations (N, 5) that name the label in exactly a share `right` of the rows, else the next class."""
    wrong = np.arange(len(labels)) >= round(right * len(labels))
    named = (labels + wrong) % CLASSES
    noise = 0.1 * np.random.default_rng(seed).normal(size=(len(labels), CLASSES))
    activations: NDArray[np.float32] = (np.eye(CLASSES)[named] + noise).astype(np.float32)
    return activations


def choose(
    accuracies: dict[str, float], *, count: int, backbone: float = 1.0
) -> tuple[tuple[ReadOut, ...], tuple[LayerReport, ...]]:
    """Choose among layers that are this often right on 200 held-out images."""
    fitted, held_out = np.arange(200) % CLASSES, np.arange(200) % CLASSES
    profile = Passed(opinions(fitted, 1, 0), {name: opinions(fitted, 1, 1) for name in accuracies})
    calibration = Passed(
        opinions(held_out, backbone, 0), {name: opinions(held_out, a, 2) for name, a in accuracies.items()}
    )
    grids = [TapCells(Tap(name, TapKind.VECTOR, (CLASSES,)), 1) for name in accuracies]
    return choose_readouts(grids, profile, fitted, calibration, held_out, count=count)


def names(chosen: tuple[tuple[ReadOut, ...], tuple[LayerReport, ...]]) -> list[str]:
    return [readout.tap for readout in chosen[0]]


def test_the_earliest_layer_that_qualifies_is_chosen_not_the_best() -> None:
    layers = {"first": 0.5, "second": 0.85, "third": 0.95, "fourth": 1.0}
    assert names(choose(layers, count=1)) == ["second"]
    assert names(choose(layers, count=2)) == ["second", "third"]
    assert names(choose(layers, count=9)) == ["second", "third", "fourth"]


def test_a_layer_qualifies_at_four_fifths_of_the_backbones_accuracy() -> None:
    assert names(choose({"first": 0.8, "second": 1.0}, count=1)) == ["first"]
    assert names(choose({"first": 0.795, "second": 1.0}, count=1)) == ["second"]
    assert names(choose({"first": 0.5, "second": 1.0}, count=1, backbone=0.6)) == ["first"], "0.5 ≥ 0.8 · 0.6"
    assert names(choose({"first": 0.47, "second": 1.0}, count=1, backbone=0.6)) == ["second"]


def test_if_none_qualifies_the_most_accurate_one_is_chosen_whatever_the_count() -> None:
    assert names(choose({"first": 0.3, "second": 0.6, "third": 0.4}, count=3)) == ["second"]
    assert names(choose({"first": 0.6, "second": 0.6}, count=1)) == ["first"], "a tie goes to the earlier"


def test_every_layer_is_reported_with_its_held_out_accuracy() -> None:
    _, reports = choose({"first": 0.5, "second": 0.9, "third": 1.0}, count=1)
    assert [(r.tap, r.accuracy.count, r.accuracy.n, r.used) for r in reports] == [
        ("first", 100, 200, False),
        ("second", 180, 200, True),
        ("third", 200, 200, False),
    ]


def test_a_readout_carries_the_temperature_fitted_to_held_out_images() -> None:
    labels = np.arange(200) % CLASSES
    fitted, held_out = opinions(labels, 1, 1), opinions(labels, 0.9, 2)
    (readout,), _ = choose({"layer": 0.9}, count=1)
    linear = fit_readout(fitted, labels, classes=CLASSES)
    expected = statistics.log_softmax(fit_temperature(linear(held_out), labels) * linear(held_out))
    np.testing.assert_allclose(
        statistics.evidence([readout], {"layer": held_out}), expected, rtol=1e-4, atol=1e-4
    )
    # Right in 90 % of the cases, and about as sure of it.
    assert np.exp(expected.max(1)).mean() == pytest.approx(0.9, abs=0.03)


def test_features_alone_give_no_second_opinion() -> None:
    with pytest.raises(ExportError, match="expected a layer before the features"):
        choose({}, count=1)


def test_early_maps_are_pooled_by_cells_and_the_features_by_channel() -> None:
    early = Tap("early", TapKind.MAP2D, (8, 14, 14))
    features = Tap("features", TapKind.MAP2D, (32, 7, 7))
    plan = TapPlan("features", ("early",), (early, features), "head")
    assert [(grid.tap.name, grid.cells) for grid in grids_of(plan, 4)] == [("early", 4), ("features", 1)]


@pytest.mark.parametrize(
    ("shape", "cells"),
    [
        ((16, 28, 28), 4),
        ((64, 28, 28), 4),
        ((65, 28, 28), 3),
        ((256, 9, 9), 2),
        ((2000, 9, 9), 1),
        ((8, 3, 9), 3),
    ],
)
def test_the_grid_is_the_finest_that_is_wanted_fits_the_map_and_stays_short(
    shape: tuple[int, ...], cells: int
) -> None:
    grid = grid_of(Tap("layer", TapKind.MAP2D, shape), 4)
    assert grid.cells == cells
    assert grid.tap.width(cells=cells) <= WIDEST or cells == 1
