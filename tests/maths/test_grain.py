"""Grain, entry by entry, in torch and in what a screen makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nip_export.calibrate import fit_tests, set_screen
from nip_export.calibrate.curves import fit_tail
from nip_export.calibrate.gate import allowed_flags
from nip_export.defence.decision import read_gate, sight
from nip_export.defence.spec import Curve
from nip_export.network.grain import GRAIN, grain, grain_torch, has_grain, pooled_grain
from nip_runtime.errors import ExportError
from tests.maths.benign_like import statistics_of
from tests.photographs import as_input, encoded, photograph

Floats = NDArray[np.float32]


def by_hand(image: Floats) -> float:
    """The mean bend of red minus green and of blue minus green of one image (3, H, W)."""
    found = []
    for colour in (0, 2):
        apart = image[colour].astype(np.float64) - image[1]
        for row in range(1, apart.shape[0] - 1):
            for column in range(1, apart.shape[1] - 1):
                around = apart[row - 1 : row + 2, column - 1 : column + 2]
                found.append(abs(np.array([1, -2, 1]) @ around @ np.array([1, -2, 1])) / 4)
    return float(np.mean(found))


def test_grain_is_the_mean_bend_of_colour_differences() -> None:
    images = np.random.default_rng(0).random((3, 3, 7, 9), np.float32)
    np.testing.assert_allclose(grain(images)[:, 0], [by_hand(image) for image in images], rtol=1e-5)
    np.testing.assert_allclose(grain_torch(torch.from_numpy(images)), grain(images), rtol=1e-5)
    assert grain(images[:0]).shape == (0, 1)


def test_rows_are_independent() -> None:
    images = np.random.default_rng(1).random((5, 3, 20, 20), np.float32)
    whole = grain(images)
    for row in range(5):
        assert grain(images[row : row + 1]).tobytes() == whole[row : row + 1].tobytes()


def test_greys_shades_and_ramps_have_none() -> None:
    grey = np.random.default_rng(2).random((1, 1, 8, 8), np.float32).repeat(3, 1)
    assert grain(grey).max() < 1e-6, "brightness alone may change as it likes"
    rows, columns = np.mgrid[:8, :8].astype(np.float32) / 20
    ramp = np.stack([rows, 0.3 * columns, 0.5 - 0.2 * rows])[None].astype(np.float32)
    assert grain(ramp).max() < 1e-6


def test_a_stored_photograph_has_little_and_the_same_with_small_noise_has_more() -> None:
    stored = as_input(encoded(photograph(), 75))
    random = np.random.default_rng(3)
    noisy = (stored + random.choice([-1.0, 1.0], stored.shape) / 255).clip(0, 1).astype(np.float32)
    small = cv2.resize(stored[0].transpose(1, 2, 0), (40, 32), interpolation=cv2.INTER_AREA)
    resized = np.ascontiguousarray(small.transpose(2, 0, 1)[None])
    assert grain(noisy)[0, 0] > 1.3 * grain(stored)[0, 0]
    again = (resized + random.choice([-1.0, 1.0], resized.shape) * 2 / 255).clip(0, 1).astype(np.float32)
    assert grain(again)[0, 0] > 1.2 * grain(resized)[0, 0], "at any size"


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((3, 3, 3), True), ((3, 32, 20), True), ((1, 28, 28), False), ((3, 2, 9), False), ((3, 40), False)],
)
def test_colour_images_alone_have_it(shape: tuple[int, ...], wanted: bool) -> None:
    assert has_grain(shape) == wanted
    assert (GRAIN in pooled_grain(np.zeros((2, *shape), np.float32))) == wanted


@pytest.mark.parametrize(
    ("benign", "minded"),
    [
        (np.random.default_rng(5).gamma(4, 0.01, 500), True),
        (np.zeros(500), False),
        (np.where(np.arange(500) < 20, 0.03, 0.0), False),
        (np.full(500, 0.02), False),
    ],
    ids=["photographs", "grey in three channels", "grey but for a few", "all alike"],
)
def test_where_benign_images_have_none_the_screen_does_not_mind_it(benign: Any, minded: bool) -> None:
    rows = statistics_of(2, rows=500)
    gate = fit_tests(replace(rows.look, grain=benign), rows.second, rows.known, early_weight=0.3)
    assert (gate.grain_tail is not None) is minded


@pytest.mark.parametrize("screen_rate", [0.2, 0.4])
def test_the_screen_rate_is_kept_and_used_up_with_grain(screen_rate: float) -> None:
    rows = statistics_of(2, rows=1000)
    look = replace(rows.look, grain=np.random.default_rng(6).gamma(4, 0.01, 1000))
    gate = set_screen(
        fit_tests(look, rows.second, rows.known, early_weight=0.3), look, screen_rate=screen_rate
    )
    screened = read_gate(gate, look, rows.second).screened
    assert screened.sum() == allowed_flags(1000, screen_rate)
    assert look.grain is not None and look.grain[screened].mean() > look.grain[~screened].mean()


def test_what_the_screen_looks_at_by_hand() -> None:
    ones = np.ones(1, np.float32)
    half = Curve(0.25, 0 * ones, np.inf * ones, np.float32(0.5) * ones)  # ¼ + max(s, 0) / 2
    gate = replace(statistics_of(2).fit(budget=0.1, screen_rate=0.4), grain_tail=half)
    assert sight(gate, np.array([1.0, 4, -2]), np.array([2.0, 0, 1])).tolist() == [2.25, 4.25, -1.25]


def test_without_a_screen_there_is_nothing_to_mind_grain() -> None:
    """A file without a screen has no grain in its graph, and what is read back from it must be the same."""
    rows = statistics_of(2, rows=500)
    look = replace(rows.look, grain=np.random.default_rng(7).gamma(4, 0.01, 500))
    gate = fit_tests(look, rows.second, rows.known, early_weight=0.3)
    assert gate.grain_tail is not None
    assert set_screen(gate, look, screen_rate=None).grain_tail is None


def test_grain_sends_on_and_flags_nothing() -> None:
    rows = statistics_of(2, rows=500)
    plain = rows.fit(budget=0.02, screen_rate=0.4)
    assert plain.grain_tail is None and plain.screen_threshold is not None
    benign = np.random.default_rng(4).gamma(4, 0.01, 500)
    gate = replace(plain, grain_tail=fit_tail(benign))
    look = rows.look
    before = read_gate(gate, replace(look, grain=np.full(500, benign.min())), rows.second)
    after = read_gate(gate, replace(look, grain=np.full(500, 10 * benign.max())), rows.second)
    assert after.screened.all() and not before.screened.all()
    assert np.array_equal(after.free, before.free)
    assert (after.sight > before.sight + 1).all()
    response = after.score - after.free
    np.testing.assert_allclose(response[before.screened], (before.score - before.free)[before.screened])
    assert np.array_equal(after.flagged, ~(after.score <= gate.flag_threshold))
    with pytest.raises(ExportError, match="minds the grain of colour images: expected it, got none"):
        read_gate(gate, look, rows.second)
    assert sight(plain, before.free, None) is before.free
