from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout, Resize
from nip_runtime.inputs.arrays import check_images, describe, to_float32

RGB = InputSpec(
    name="input",
    shape=(3, 4, 5),
    layout=Layout.NCHW,
    bounds=(0.0, 1.0),
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    resize=Resize.AREA,
)
GREY = replace(RGB, shape=(1, 4, 5), mean=None, std=None)
AUDIO = replace(RGB, shape=(16,), layout=Layout.ANY, bounds=(-1.0, 1.0), mean=None, std=None, resize=None)

FLOATS = np.random.default_rng(0).random((6, 3, 4, 5), np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (6, 4, 5, 3), np.uint8)


def _with(value: float, row: int = 4) -> NDArray[np.float32]:
    images = FLOATS.copy()
    images[row, 1, 2, 3] = value
    return images


class _Tensor:
    """Looks like a PyTorch tensor."""

    def detach(self) -> None:
        raise AssertionError("touched")


@pytest.mark.parametrize(
    ("images", "spec", "got", "fix"),
    [
        pytest.param([FLOATS[0]], RGB, "got list", "numpy.stack", id="list"),
        pytest.param(_Tensor(), RGB, r"got .*\._Tensor", r"detach\(\).cpu\(\).numpy\(\)", id="tensor"),
        pytest.param("photo.png", RGB, "got str", "nip predict", id="path"),
        pytest.param(None, RGB, "got NoneType", "numpy.asarray", id="none"),
        pytest.param(SimpleNamespace(), RGB, "got types.SimpleNamespace", "numpy.asarray", id="object"),
        pytest.param(np.ma.masked_array(FLOATS), RGB, "MaskedArray", "filled", id="masked"),
        pytest.param(
            FLOATS.astype(np.float64), RGB, "got dtype float64", r"astype\(numpy.float32\)", id="float64"
        ),
        pytest.param(
            FLOATS.astype(np.float16), RGB, "got dtype float16", r"astype\(numpy.float32\)", id="float16"
        ),
        pytest.param(FLOATS.astype(">f4"), RGB, "got dtype >f4", r"astype\(numpy.float32\)", id="big-endian"),
        pytest.param(PIXELS.astype(np.int64), RGB, "got dtype int64", r"astype\(numpy.uint8\)", id="int64"),
        pytest.param(FLOATS > 0.5, RGB, "got dtype bool", "convert them to float32", id="bool"),
        pytest.param(
            np.array([FLOATS[0], None], dtype=object), RGB, "got dtype object", "one size", id="object-array"
        ),
        pytest.param(np.float32(1) + np.zeros((), np.float32), RGB, "got", "numpy.asarray", id="scalar"),
        pytest.param(
            np.zeros((), np.float32), RGB, r"got float32 \(\)", "bring the images to 4x5", id="rank-0"
        ),
        pytest.param(
            FLOATS[0], RGB, r"got float32 \(3, 4, 5\)", r"batch axis: images\[None\]", id="no-batch"
        ),
        pytest.param(
            PIXELS[0], RGB, r"got uint8 \(4, 5, 3\)", r"batch axis: images\[None\]", id="no-batch-uint8"
        ),
        pytest.param(PIXELS[0, ..., 0], GREY, r"got uint8 \(4, 5\)", r"images\[None\]", id="no-batch-grey"),
        pytest.param(
            FLOATS.transpose(0, 2, 3, 1), RGB, r"\(6, 4, 5, 3\)", r"transpose\(0, 3, 1, 2\)", id="nhwc-floats"
        ),
        pytest.param(
            PIXELS.transpose(0, 3, 1, 2), RGB, r"\(6, 3, 4, 5\)", r"transpose\(0, 2, 3, 1\)", id="nchw-uint8"
        ),
        pytest.param(FLOATS[:, 0], GREY, r"\(6, 4, 5\)", r"images\[:, None\]", id="no-channel"),
        pytest.param(PIXELS[:, :3], RGB, r"\(6, 3, 5, 3\)", "4x5 pixels and 3 channels", id="height"),
        pytest.param(PIXELS[..., :2], RGB, r"\(6, 4, 5, 2\)", "4x5 pixels and 3 channels", id="channels"),
        pytest.param(PIXELS[..., 0], RGB, r"\(6, 4, 5\)", "4x5 pixels and 3 channels", id="grey-for-rgb"),
        pytest.param(FLOATS[:0, :2], RGB, r"\(0, 2, 4, 5\)", "4x5 pixels", id="empty-but-wrong"),
        pytest.param(_with(np.nan), RGB, "got NaN in row 4", "drop or repair", id="nan"),
        pytest.param(_with(np.inf), RGB, "got Inf in row 4", "drop or repair", id="inf"),
        pytest.param(_with(-np.inf, 0), RGB, "got Inf in row 0", "drop or repair", id="minus-inf"),
        pytest.param(
            _with(1.0000001),
            RGB,
            r"to 1\.00000012 \(first outside in row 4",
            r"images.clip\(0, 1\)",
            id="just-above",
        ),
        pytest.param(
            _with(-1e-7, 2), RGB, r"first outside in row 2", r"images.clip\(0, 1\)", id="just-below"
        ),
        pytest.param(
            FLOATS * 255, RGB, r"got values from .* to 25\d", "divide by 255, or pass uint8", id="0-255"
        ),
        pytest.param(
            (FLOATS - 0.5) / 0.2, RGB, "got values from -2", "normalises them itself", id="normalised"
        ),
        pytest.param(
            np.zeros((2, 16), np.uint8), AUDIO, "got dtype uint8", "convert them to float32", id="audio-int"
        ),
        pytest.param(
            np.zeros((2, 17), np.float32), AUDIO, r"\(2, 17\)", "every item to this shape", id="audio-size"
        ),
        pytest.param(
            np.full((2, 16), 1.5, np.float32), AUDIO, "1.5", r"images.clip\(-1, 1\)", id="audio-range"
        ),
    ],
)
def test_one_error_says_expected_got_and_fix(images: object, spec: InputSpec, got: str, fix: str) -> None:
    with pytest.raises(InputError, match=f"{got}.*; .*{fix}") as caught:
        check_images(images, spec)
    assert str(caught.value).startswith(f"expected {describe(spec)}, got ")


def test_describes_what_it_takes() -> None:
    assert describe(RGB) == "uint8 (N, 4, 5, 3) or float32 (N, 3, 4, 5) within [0, 1]"
    assert describe(GREY) == "uint8 (N, 4, 5, 1) or uint8 (N, 4, 5) or float32 (N, 1, 4, 5) within [0, 1]"
    assert describe(AUDIO) == "float32 (N, 16) within [-1, 1]"


def _convert(images: object, spec: InputSpec) -> NDArray[np.float32]:
    return to_float32(check_images(images, spec), spec)


def test_pixels_become_channels_first_over_255() -> None:
    converted = _convert(PIXELS, RGB)
    assert converted.dtype == np.float32
    assert converted.flags.c_contiguous
    for n, c, h, w in np.ndindex(6, 3, 4, 5):
        assert converted[n, c, h, w] == np.float32(PIXELS[n, h, w, c]) / np.float32(255)


def test_all_256_levels_stay_within_bounds_and_ordered() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1)
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-0.3, 0.7)):
        spec = replace(GREY, shape=(1, 1, 1), bounds=(low, high))
        values = _convert(levels, spec).ravel()
        assert values[0] == np.float32(low)
        assert values[-1] == np.float32(high)
        assert (np.diff(values) > 0).all()


def test_grey_images_need_no_channel_axis() -> None:
    grey = PIXELS[..., 0]
    np.testing.assert_array_equal(_convert(grey, GREY), _convert(grey[..., None], GREY))


@given(st.integers(0, 6), st.sampled_from([1, -1, 2, -2]), st.booleans(), st.booleans())
def test_strides_and_read_only_do_not_matter(start: int, step: int, is_uint8: bool, is_fortran: bool) -> None:
    whole: NDArray[np.uint8] | NDArray[np.float32] = PIXELS if is_uint8 else FLOATS
    view = whole[start::step, ::-1, ::-1]
    plain = np.ascontiguousarray(view)
    odd = np.asfortranarray(view) if is_fortran else view
    odd.flags.writeable = False
    np.testing.assert_array_equal(_convert(odd, RGB), _convert(plain, RGB))


def test_unaligned_floats_are_copied() -> None:
    raw = np.zeros(FLOATS.nbytes + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(FLOATS.shape)
    shifted[...] = FLOATS
    assert not shifted.flags.aligned
    converted = _convert(shifted, RGB)
    assert converted.flags.aligned
    np.testing.assert_array_equal(converted, FLOATS)


def test_floats_pass_bit_for_bit_and_bounds_are_inclusive() -> None:
    images = _with(0.0)
    images[0, 0, 0, 0] = 1.0
    assert _convert(images, RGB).tobytes() == images.tobytes()


def test_input_is_never_written_to() -> None:
    before = PIXELS.copy()
    to_float32(check_images(PIXELS, RGB), replace(RGB, bounds=(-1.0, 1.0)))
    np.testing.assert_array_equal(PIXELS, before)


def test_bounds_that_float32_rounds_are_met_by_float32() -> None:
    spec = replace(AUDIO, bounds=(-0.1, 0.1))
    edges = np.array([[-0.1, 0.1] * 8], np.float32)  # as doubles these lie outside
    assert float(edges.min()) < -0.1
    assert float(edges.max()) > 0.1
    assert check_images(edges, spec) is edges
