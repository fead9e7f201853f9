"""The views in numpy against their definition, one entry at a time, and in torch against numpy."""

from __future__ import annotations

import statistics as python_statistics
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.defence.spec import Bank
from nip_export.defence.views import (
    DELAY,
    GAIN,
    LEVELS,
    View,
    check_view,
    gentle_menu,
    menu,
    parse_view,
    see,
    see_torch,
    view_name,
)
from nip_export.verify.oracle import look_again
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import ViewStep

Floats = NDArray[np.float32]
Bounds = tuple[float, float]
SHAPES: tuple[tuple[int, ...], ...] = ((3, 9, 11), (1, 20), (7,))
BOUNDS: tuple[Bounds, ...] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
MIRROR, SHIFT, MEDIAN, BLUR, GAIN_STEP, POLARITY, DELAY_STEP, BITS, *_ = ViewStep
seeded = settings(max_examples=25, deadline=None, derandomize=True)


def views_of(shape: tuple[int, ...]) -> tuple[View, ...]:
    """All of the menu, and two bits alone and after every other step."""
    found = menu(shape, (-1.0, 1.0))
    return tuple(dict.fromkeys((*found, (BITS,), *((*view, BITS) for view in found if len(view) == 1))))


CASES = [(shape, view) for shape in SHAPES for view in views_of(shape)]
ids = [f"{'x'.join(map(str, shape))}-{view_name(view, rho=False)}" for shape, view in CASES]


def inputs_of(shape: tuple[int, ...], bounds: Bounds, rows: int = 2) -> st.SearchStrategy[Floats]:
    """A few drawn values within the bounds, both ends among them, strewn over an input or repeated in it.

    No −0, whose sign no runtime promises to keep.
    """
    low, high = bounds
    values = st.floats(low, high, width=32, allow_subnormal=False).map(lambda value: value + 0.0)

    def strewn(drawn: list[float], seed: int, share: float) -> Floats:
        random = np.random.default_rng(seed)
        inputs = random.uniform(low, high, (rows, *shape)).astype(np.float32)
        chosen = random.choice(np.array([low, high, *drawn], np.float32), inputs.shape)
        strewn: Floats = np.where(random.random(inputs.shape) < share, chosen, inputs).clip(*bounds)
        return strewn

    return st.builds(
        strewn, st.lists(values, max_size=6), st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0])
    )


def entry(image: Floats, index: tuple[int, ...]) -> np.float32:
    """The nearest entry of one input (*shape) to a place that may lie outside."""
    inside = tuple(min(max(i, 0), length - 1) for i, length in zip(index, image.shape, strict=True))
    value: np.float32 = image[inside]
    return value


def step_by_hand(image: Floats, step: ViewStep, bounds: Bounds) -> Floats:
    """One input (*shape) after one step, from what the step is called."""
    seen = np.empty_like(image)
    axes = range(max(1, image.ndim - 2), image.ndim) if image.ndim > 1 else range(1)
    for index in product(*map(range, image.shape)):
        match step:
            case ViewStep.MIRROR:
                seen[index] = image[(*index[:-1], image.shape[-1] - 1 - index[-1])]
            case ViewStep.SHIFT:
                moved = tuple(i - 1 if axis in axes else i for axis, i in enumerate(index))
                seen[index] = entry(image, moved)
            case ViewStep.MEDIAN:
                *front, row, column = index
                window = [
                    float(entry(image, (*front, row + down, column + right)))
                    for down in (-1, 0, 1)
                    for right in (-1, 0, 1)
                ]
                seen[index] = python_statistics.median(window)
            case ViewStep.POLARITY:
                seen[index] = -image[index]
            case ViewStep.DELAY:
                moved = (*index[:-1], index[-1] - max(1, image.shape[-1] // DELAY))
                seen[index] = entry(image, moved)
            case ViewStep.GAIN:
                seen[index] = image[index] * np.float32(GAIN)
            case ViewStep.BITS:
                low, high = bounds
                size = np.float32((high - low) / LEVELS)
                # Python's round goes to the even neighbour, too.
                seen[index] = np.float32(round(float((image[index] - np.float32(low)) / size))) * size
                seen[index] += np.float32(low)
            case ViewStep.BLUR:
                raise AssertionError("one axis after the other, below")
    return seen


def blur_by_hand(image: Floats) -> Floats:
    axes = range(max(1, image.ndim - 2), image.ndim) if image.ndim > 1 else range(1)
    for axis in axes:
        seen = np.empty_like(image)
        for index in product(*map(range, image.shape)):
            left, right = (
                entry(image, tuple(i + by if a == axis else i for a, i in enumerate(index))) for by in (-1, 1)
            )
            seen[index] = (left + image[index] + image[index] + right) / np.float32(4)
        image = seen
    return image


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_a_view_is_what_its_steps_are_called(shape: tuple[int, ...], view: View, bounds: Bounds) -> None:
    low, high = bounds
    inputs = np.random.default_rng(0).uniform(low, high, (2, *shape)).astype(np.float32)
    for found, image in zip(see(inputs, view, bounds), inputs, strict=True):
        for step in view:
            image = blur_by_hand(image) if step is BLUR else step_by_hand(image, step, bounds)
        np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
@seeded
@given(data=st.data(), bounds=st.sampled_from(BOUNDS))
def test_torch_sees_the_same_bit_for_bit(
    shape: tuple[int, ...], view: View, data: Any, bounds: Bounds
) -> None:
    inputs = data.draw(inputs_of(shape, bounds))
    before, wanted = inputs.copy(), see(inputs, view, bounds)
    found = see_torch(torch.from_numpy(inputs), view, bounds).numpy()
    assert found.dtype == wanted.dtype == np.float32
    assert found.shape == wanted.shape == inputs.shape
    np.testing.assert_array_equal(found, wanted)
    assert np.array_equal(inputs, before), "what was given is as it was"


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
@seeded
@given(data=st.data(), bounds=st.sampled_from(BOUNDS))
def test_a_view_stays_within_the_bounds(
    shape: tuple[int, ...], view: View, data: Any, bounds: Bounds
) -> None:
    if POLARITY in view:
        bounds = (-1.0, 1.0)
    inputs = data.draw(inputs_of(shape, bounds))
    seen = see(inputs, view, bounds)
    assert bounds[0] <= seen.min() and seen.max() <= bounds[1]
    nothing = Bank(np.zeros((1, *shape), np.int8), 1.0, 1, shape)
    np.testing.assert_array_equal(look_again(inputs, view, nothing, bounds), seen)


@seeded
@given(data=st.data(), low=st.floats(-9, 9), size=st.floats(0.1, 300))
def test_bits_leave_four_values_and_under_any_bounds_the_second_pass_stays_within(
    data: Any, low: float, size: float
) -> None:
    bounds = float(np.float32(low)), float(np.float32(low + size))
    inputs = data.draw(inputs_of((1, 20), bounds))
    nothing = Bank(np.zeros((1, 1, 20), np.int8), 1.0, 1, (1, 20))
    seen = look_again(inputs, (BITS,), nothing, bounds)
    assert bounds[0] <= seen.min() and seen.max() <= bounds[1]
    levels = np.linspace(*bounds, 4)
    apart = np.abs(seen[..., None] - levels).min(-1)
    assert apart.max() <= 1e-5 * max(map(abs, bounds)), "one of four, evenly spread between the bounds"
    assert np.abs(seen - inputs).max() <= 1.001 * (bounds[1] - bounds[0]) / 6, "the nearest"


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
def test_rows_are_independent(shape: tuple[int, ...], view: View) -> None:
    inputs = np.random.default_rng(1).random((5, *shape), np.float32)
    whole, order = see(inputs, view), np.array([3, 0, 4])
    assert see(inputs[order], view).tobytes() == np.ascontiguousarray(whole[order]).tobytes()
    for row in range(5):
        assert see(inputs[row : row + 1], view).tobytes() == whole[row : row + 1].tobytes()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@seeded
@given(data=st.data())
def test_mirrored_twice_is_the_input(shape: tuple[int, ...], data: Any) -> None:
    inputs = data.draw(inputs_of(shape, (0.0, 1.0)))
    once = see(inputs, (MIRROR,))
    np.testing.assert_array_equal(see(once, (MIRROR,)), inputs)
    np.testing.assert_array_equal(
        see_torch(see_torch(torch.from_numpy(inputs), (MIRROR,)), (MIRROR,)), inputs
    )


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("step", [MIRROR, SHIFT, MEDIAN, BLUR, DELAY_STEP])
def test_an_input_of_one_value_looks_the_same_from_everywhere(step: ViewStep, value: float) -> None:
    inputs = np.full((2, 3, 9, 11), value, np.float32)
    np.testing.assert_allclose(see(inputs, (step,)), inputs, rtol=1e-6)
    if step is not BLUR:
        np.testing.assert_array_equal(see(inputs, (step,)), inputs)


def test_a_median_removes_a_single_pixel_and_keeps_an_edge() -> None:
    inputs = np.zeros((1, 1, 5, 5), np.float32)
    inputs[..., 2, 2] = 1
    assert not see(inputs, (MEDIAN,)).any()
    inputs[..., 3:] = 1
    inputs[..., 2, 2] = 0
    np.testing.assert_array_equal(see(inputs, (MEDIAN,)), inputs)


def test_steps_are_taken_in_their_order() -> None:
    inputs = np.random.default_rng(2).random((2, 3, 9, 11), np.float32)
    first = see(see(inputs, (MIRROR,)), (SHIFT,))
    np.testing.assert_array_equal(see(inputs, (MIRROR, SHIFT)), first)
    assert not np.array_equal(see(inputs, (SHIFT, MIRROR)), first)


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
def test_gradients_pass(shape: tuple[int, ...], view: View) -> None:
    inputs = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(see_torch(inputs, view).sum(), inputs)
    # Every entry of what is seen is one entry, or a mean of some, times 0.9 under gain.
    share = (GAIN if GAIN_STEP in view else 1.0) * (-1 if POLARITY in view else 1)
    assert float(gradient.sum()) == pytest.approx(share * inputs.numel(), rel=1e-4)
    if view == (BITS,):
        assert torch.equal(gradient, torch.ones_like(inputs))


REFUSED: list[tuple[ViewStep, tuple[int, ...], str]] = [
    (MIRROR, (40,), "an axis after the channels"),
    (MIRROR, (1, 2), "an axis after the channels"),
    (DELAY_STEP, (40,), "an axis after the channels"),
    (MEDIAN, (40,), "rows and columns"),
    (MEDIAN, (1, 20), "rows and columns"),
    (MEDIAN, (3, 9, 2), "rows and columns"),
    (SHIFT, (40,), "an axis after the channels"),
    (SHIFT, (1, 2), "an axis after the channels"),
    (BLUR, (40,), "an axis after the channels"),
    (BLUR, (5, 1), "an axis after the channels"),
]


@pytest.mark.parametrize(("step", "shape", "needed"), REFUSED)
def test_a_step_that_does_not_fit_the_input_is_refused(
    step: ViewStep, shape: tuple[int, ...], needed: str
) -> None:
    with pytest.raises(ExportError) as refused:
        check_view((step,), shape, (0.0, 1.0))
    message = str(refused.value)
    assert message == (
        f"view: {step} needs inputs with {needed} of at least 3, got shape {shape}; leave it out"
    )


@pytest.mark.parametrize("bounds", [(0.5, 1.0), (-2.0, -1.0)])
def test_gain_is_refused_where_it_would_leave_the_bounds(bounds: Bounds) -> None:
    with pytest.raises(ExportError, match=r"view: gain needs bounds around 0, got .*; leave it out"):
        check_view((GAIN_STEP,), (7,), bounds)


def test_polarity_is_refused_where_it_would_leave_the_bounds() -> None:
    check_view((POLARITY,), (7,), (-2.0, 2.0))
    with pytest.raises(
        ExportError, match=r"view: polarity needs bounds evenly around 0, got .*; leave it out"
    ):
        check_view((POLARITY,), (7,), (0.0, 1.0))


@pytest.mark.parametrize("shape", [*SHAPES, (3, 3, 3), (1, 28, 28), (2, 3), (1, 2), (3, 2, 2), (1,)], ids=str)
@pytest.mark.parametrize("bounds", [*BOUNDS, (0.5, 1.0)], ids=str)
def test_the_menu_offers_what_fits_and_the_input_itself_first(shape: tuple[int, ...], bounds: Bounds) -> None:
    found = menu(shape, bounds)
    assert found[0] == () and len(set(found)) == len(found)
    for view in found:
        check_view(view, shape, bounds)
    assert ((MIRROR,) in found) == (len(shape) > 1 and min(shape[1:]) >= 3)


@pytest.mark.parametrize("stored", [None, ViewStep.JPEG_75, ViewStep.JPEG_90])
def test_the_gentle_menu_changes_the_brightness_of_what_was_stored(stored: ViewStep | None) -> None:
    found = gentle_menu((3, 32, 32), (0.0, 1.0), stored)
    assert found == (() if stored is None else ((stored, GAIN_STEP),))
    assert gentle_menu((3, 32, 32), (1.0, 2.0), stored) == (), "scaling would leave the bounds"
    assert gentle_menu((40,), (0.0, 1.0), stored) == ()


def test_the_menu_of_images_sequences_and_vectors_is_that_of_the_documentation() -> None:
    assert set(menu((3, 32, 32), (0.0, 1.0))) == {
        (*first, *then)
        for first in ((), (MIRROR,), (SHIFT,), (MIRROR, SHIFT))
        for then in ((), (MEDIAN,), (BLUR,))
    }
    plain = {(), (SHIFT,), (BLUR,), (DELAY_STEP,), (MIRROR,)}
    assert set(menu((1, 1024), (0.0, 1.0))) == plain | {(*view, GAIN_STEP) for view in plain}
    plain |= {(*view, POLARITY) for view in plain}
    assert set(menu((1, 1024), (-1.0, 1.0))) == plain | {(*view, GAIN_STEP) for view in plain}
    assert set(menu((40,), (0.0, 1.0))) == {(), (GAIN_STEP,)}
    assert menu((40,), (0.5, 1.0)) == ((),)


all_views = st.tuples(st.permutations(list(ViewStep)), st.integers(0, 6)).map(
    lambda drawn: tuple(drawn[0][: drawn[1]])
)


@seeded
@given(view=all_views, rho=st.booleans())
def test_a_view_is_read_back_from_its_name(view: View, rho: bool) -> None:
    name = view_name(view, rho=rho)
    if not view and not rho:
        assert name == "identity"
        return
    assert parse_view(name) == (view, rho)


def test_names_are_those_of_the_documentation() -> None:
    assert view_name((MIRROR, MEDIAN), rho=True) == "mirror+median+rho"
    assert view_name((), rho=True) == "rho"
    assert parse_view("mirror+median") == ((MIRROR, MEDIAN), False)
    assert parse_view("rho") == ((), True)


@pytest.mark.parametrize(
    "text", ["", "identity", "auto", "mirror+", "rho+mirror", "mirror+mirror", "MIRROR", "ρ"]
)
def test_a_name_that_is_no_view_is_refused_as_it_was_given(text: str) -> None:
    with pytest.raises(ExportError) as refused:
        parse_view(text)
    message = str(refused.value)
    assert message.startswith(
        "view: expected 'auto', or mirror, shift, median, blur, gain, polarity, delay, bits"
    )
    assert message.endswith(f"got {text!r}")
