from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.defence.spec import Bank
from nip_export.fit.perturbations import quantise
from nip_export.fit.perturbations.bank import LARGEST_GRID, coarse_factor, coarse_shape, refine
from nip_export.verify.oracle import look_again
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import ViewStep

Floats = NDArray[np.float32]
SHAPES = [(7,), (1, 30), (3, 8, 8), (1, 65, 65), (2, 66, 130), (1, 3, 200), (3, 100, 65), (4, 5, 6, 7)]


def drawn(shape: tuple[int, ...], *, rows: int = 2, eps: float = 8 / 255, seed: int = 0) -> Floats:
    """Perturbations on the stored grid, anywhere within ±ε, ends included."""
    values = np.random.default_rng(seed).uniform(-eps, eps, (rows, *coarse_shape(shape)))
    values.reshape(-1)[:2] = eps, -eps
    drawn: Floats = values.astype(np.float32)
    return drawn


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("eps", [8 / 255, 1e-4, 8.0])
def test_storing_costs_at_most_half_a_step_of_epsilon_over_127(shape: tuple[int, ...], eps: float) -> None:
    values = drawn(shape, eps=eps)
    bank = quantise(values, eps=eps, shape=shape)
    fine = refine(torch.from_numpy(values), shape).numpy()
    dense = bank.dense()
    assert dense.dtype == np.float32 and dense.shape == (2, *shape)
    rounding = 4 * eps * np.finfo(np.float32).eps
    assert np.abs(dense - fine).max() <= eps / 254 + rounding
    assert np.abs(dense).max() == pytest.approx(eps, rel=1e-6), "ε itself is kept"
    assert np.abs(dense).max() <= eps + rounding


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_the_ascent_sees_is_what_the_bank_adds(shape: tuple[int, ...]) -> None:
    steps = np.random.default_rng(1).integers(-127, 128, (3, *coarse_shape(shape)))
    values = (steps * (8 / 255) / 127).astype(np.float32)
    bank = quantise(values, eps=8 / 255, shape=shape)
    assert np.array_equal(bank.steps, steps), "values on the steps are stored as they are"
    np.testing.assert_allclose(bank.dense(), refine(torch.from_numpy(values), shape).numpy(), rtol=1e-6)


def test_every_pixel_takes_the_value_of_its_block_also_at_a_ragged_edge() -> None:
    shape = (1, 3, 129)  # factor 3: stored 1 × 43
    assert (coarse_factor(shape), coarse_shape(shape)) == (3, (1, 1, 43))
    steps = np.arange(43, dtype=np.int8).reshape(1, 1, 1, 43)
    dense = Bank(steps, 0.5, 3, shape).dense()
    for row in range(3):
        for column in range(129):
            assert dense[0, 0, row, column] == 0.5 * (column // 3)
    ragged = Bank(np.array([[[[1, 2], [3, 4]]]], np.int8), 1.0, 2, (1, 3, 3)).dense()
    assert ragged[0, 0].tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 4]]


@pytest.mark.parametrize("side", [1, 28, 64])
def test_small_images_are_stored_pixel_by_pixel(side: int) -> None:
    assert coarse_factor((3, side, side)) == 1
    assert coarse_shape((3, side, side)) == (3, side, side)


@pytest.mark.parametrize("shape", [(16_000,), (1, 16_000), (2, 3, 128, 128)])
def test_only_images_are_stored_coarsely(shape: tuple[int, ...]) -> None:
    assert coarse_shape(shape) == shape


def test_a_thousand_classes_at_224_stay_below_12_megabytes() -> None:
    shape = (3, 224, 224)
    assert coarse_shape(shape) == (3, 56, 56)
    values = np.random.default_rng(0).uniform(-8 / 255, 8 / 255, (1000, 3, 56, 56)).astype(np.float32)
    bank = quantise(values, eps=8 / 255, shape=shape)
    assert bank.factor == 4
    assert bank.size_bytes == 1000 * math.prod(coarse_shape(shape)), "one byte per stored value"
    assert 9e6 < bank.size_bytes <= 12e6


@pytest.mark.parametrize("side", [160, 192, 224, 256, 299, 384, 512])
def test_no_usual_image_size_takes_a_larger_bank_than_12_5_kilobytes_per_class(side: int) -> None:
    factor, (_, rows, columns) = coarse_factor((3, side, side)), coarse_shape((3, side, side))
    assert rows == columns == math.ceil(side / factor) <= LARGEST_GRID
    assert 3 * rows * columns <= 12_500
    assert (factor - 1) * LARGEST_GRID < side, "no coarser than the largest grid asks for"


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8, 28, 40])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 20)], ids=str)
def test_a_chosen_factor_stores_less_and_stays_within_epsilon(
    factor: int, shape: tuple[int, int, int]
) -> None:
    eps = 8 / 255
    channels, height, width = shape
    grid = (channels, math.ceil(height / factor), math.ceil(width / factor))
    assert coarse_shape(shape, factor) == grid
    values = np.random.default_rng(factor).uniform(-eps, eps, (5, *grid)).astype(np.float32)
    bank = quantise(values, eps=eps, shape=shape, factor=factor)
    assert (bank.factor, bank.steps.shape, bank.size_bytes) == (factor, (5, *grid), 5 * math.prod(grid))
    dense = bank.dense()
    assert dense.shape == (5, *shape)
    rounding = 4 * eps * np.finfo(np.float32).eps
    assert np.abs(dense).max() <= eps + rounding
    for row in range(height):
        for column in range(width):
            lost = dense[..., row, column] - values[..., row // factor, column // factor]
            assert np.abs(lost).max() <= eps / 254 + rounding, "within half a step of what was found"
    fine = refine(torch.from_numpy(values), shape, factor).numpy()
    assert np.abs(dense - fine).max() <= eps / 254 + rounding, "what the ascent adds is what is stored"


def test_a_factor_that_does_not_fit_is_refused() -> None:
    for shape, factor in (((3, 8, 8), 0), ((3, 8, 8), -2), ((16_000,), 2), ((1, 16_000), 4)):
        with pytest.raises(ExportError, match="factor: expected"):
            coarse_shape(shape, factor)
    assert coarse_shape((16_000,), 1) == (16_000,)


def test_perturbations_from_another_grid_are_refused() -> None:
    with pytest.raises(ExportError, match=r"expected perturbations \(rows, \*\(1, 14, 14\)\)"):
        quantise(np.zeros((1, 1, 28, 28)), eps=1.0, shape=(1, 28, 28), factor=2)


def test_values_beyond_epsilon_are_cut_not_wrapped() -> None:
    bank = quantise(np.array([[5.0, -5.0, 1.004]]), eps=1.0, shape=(3,))
    assert bank.steps.tolist() == [[127, -127, 127]]


def test_a_tensor_in_a_graph_can_be_stored() -> None:
    values = torch.full((1, 4), 0.5, requires_grad=True)
    assert quantise(values, eps=1.0, shape=(4,)).steps.tolist() == [[64, 64, 64, 64]], "63.5 to the even step"


def test_refining_passes_gradients_to_the_stored_values() -> None:
    coarse = torch.zeros(1, *coarse_shape((1, 66, 65)), requires_grad=True)
    (gradient,) = torch.autograd.grad(refine(coarse, (1, 66, 65)).sum(), coarse)
    assert gradient[0, 0, 0, 0] == 4, "four pixels"
    assert gradient[0, 0, 0, -1] == 2, "the last column covers one pixel per row"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(5,), (1, 9), (2, 4, 3), (1, 70, 65)]),
    bounds=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.5, 0.3)]),
    relative_eps=st.floats(1e-4, 0.9),
    per_class=st.booleans(),
)
def test_a_perturbed_input_stays_within_epsilon_and_the_bounds(
    seed: int, shape: tuple[int, ...], bounds: tuple[float, float], relative_eps: float, per_class: bool
) -> None:
    low, high = bounds
    eps = relative_eps * (high - low)
    random = np.random.default_rng(seed)
    bank = quantise(drawn(shape, rows=3 if per_class else 1, eps=eps, seed=seed), eps=eps, shape=shape)
    # A third of the values on either bound.
    inputs = np.clip(random.uniform(2 * low - high, 2 * high - low, (6, *shape)), low, high).astype(
        np.float32
    )
    before = inputs.copy()
    hypothesis = random.integers(3, size=6) if per_class else None
    moved = look_again(inputs, (), bank, bounds, hypothesis=hypothesis)
    assert moved.dtype == np.float32 and moved.shape == inputs.shape
    assert moved.min() >= np.float32(low) and moved.max() <= np.float32(high)
    rounding = 4 * np.finfo(np.float32).eps * max(abs(low), abs(high), eps)
    assert np.abs(moved.astype(np.float64) - inputs).max() <= eps + rounding
    assert np.array_equal(inputs, before)


def test_the_hypothesis_chooses_the_row_and_a_universal_bank_has_one() -> None:
    bank = Bank(np.array([[10], [20], [30]], np.int8), 0.01, 1, (1,))
    inputs, hypothesis = np.full((3, 1), 0.5, np.float32), np.array([2, 0, 1])
    chosen = look_again(inputs, (), bank, (0, 1), hypothesis=hypothesis)
    np.testing.assert_allclose(chosen[:, 0], [0.8, 0.6, 0.7], rtol=1e-6)
    universal = Bank(bank.steps[:1], 0.01, 1, (1,))
    same = look_again(inputs, (), universal, (0, 1))
    np.testing.assert_allclose(same[:, 0], [0.6, 0.6, 0.6], rtol=1e-6)


def test_a_bank_of_zeros_adds_nothing_and_takes_no_place() -> None:
    empty = Bank(np.zeros((1, 3), np.int8), 0.01, 1, (3,))
    assert not empty.adds and empty.size_bytes == 0
    inputs = np.random.default_rng(0).random((4, 3), np.float32)
    assert look_again(inputs, (), empty, (0, 1)).tobytes() == inputs.tobytes()
    assert Bank(np.array([[0, 1, 0]], np.int8), 0.01, 1, (3,)).adds


def test_the_perturbation_comes_after_the_view_and_the_bounds_after_both() -> None:
    bank = Bank(np.array([[[[10, 20, 60]]]], np.int8).reshape(1, 1, 1, 3), 0.01, 1, (1, 1, 3))
    inputs = np.array([[[[0.1, 0.2, 0.7]]]], np.float32)
    seen = look_again(inputs, (ViewStep.MIRROR,), bank, (0, 1))
    np.testing.assert_allclose(seen[0, 0, 0], [0.7 + 0.1, 0.2 + 0.2, 0.1 + 0.6], rtol=1e-6)
    cut = look_again(inputs, (), bank, (0, 1))
    np.testing.assert_allclose(cut[0, 0, 0], [0.2, 0.4, 1.0], rtol=1e-6)
