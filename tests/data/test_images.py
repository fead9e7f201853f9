from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nip_export.data import ImageSet, digest, to_model_input
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.inputs.arrays import to_float32

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)


def spec(shape: tuple[int, ...]) -> InputSpec:
    return InputSpec(
        name="input", shape=shape, layout=Layout.NCHW, bounds=(0.0, 1.0), mean=None, std=None, resize=None
    )


@pytest.mark.parametrize(
    ("images", "channels"),
    [(COLOUR, 3), (COLOUR[..., 0], 1), (COLOUR[..., :1], 1)],
    ids=["rgb", "flat", "grey"],
)
def test_calibration_sees_the_very_numbers_the_runtime_sees(images: npt.NDArray[Any], channels: int) -> None:
    ours = to_model_input(images, channels)
    assert np.array_equal(ours, to_float32(images, spec((channels, 5, 6))))
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous


def test_channels_move_first_and_values_are_divided_by_255() -> None:
    assert to_model_input(COLOUR, 3)[1, 2, 3, 4] == np.float32(COLOUR[1, 3, 4, 2]) / np.float32(255)


def test_floats_pass_unchanged_whatever_their_rank() -> None:
    spectrum = RNG.random((3, 40), dtype=np.float32)
    assert np.array_equal(to_model_input(spectrum, 1), spectrum)


@pytest.mark.parametrize(
    "images",
    [COLOUR, COLOUR[..., 0].astype(np.float64), RNG.random((4, 3, 5, 6), dtype=np.float32)],
    ids=["three for one", "float64", "float channels"],
)
def test_what_does_not_fit_is_refused(images: npt.NDArray[Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        to_model_input(images, 1)


def test_the_digest_is_over_dtype_shape_and_bytes() -> None:
    images, labels = np.zeros((1, 2), np.uint8), np.array([3], np.int64)
    expected = hashlib.sha256(b"uint8(1, 2);\0\0int64(1,);\x03" + b"\0" * 7).hexdigest()
    assert digest(images, labels) == f"sha256:{expected}"


def test_the_digest_tells_every_change_apart_but_not_memory_layout() -> None:
    labels = np.arange(4)
    base = digest(COLOUR, labels)
    changed = COLOUR.copy()
    changed[-1, -1, -1, -1] ^= 1
    others = [
        digest(changed, labels),
        digest(COLOUR, labels[::-1]),
        digest(COLOUR.reshape(4, 6, 5, 3), labels),
        digest(COLOUR.view(np.int8), labels),
    ]
    assert len({base, *others}) == 5
    assert digest(np.asfortranarray(COLOUR), labels) == base
    assert digest(COLOUR, labels.astype(">i8")) == base


def test_an_empty_array_has_a_digest() -> None:
    assert digest(COLOUR[:0], np.arange(0)).startswith("sha256:")


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (COLOUR, np.arange(3), None, r"shape \(4,\), one per image"),
        (COLOUR, np.arange(4, dtype=np.int32), None, "int64 labels"),
        (COLOUR, np.array([0, 1, -1, 0]), None, "labels from 0"),
        (COLOUR, np.arange(4), ("a", "b"), "labels below 2"),
        (COLOUR.astype(np.int32), np.arange(4), None, "uint8"),
        (COLOUR[0, 0], np.arange(6), None, "uint8"),
        (np.full((4, 2), 1.5, np.float32), np.arange(4), None, r"values in \[0, 1\]"),
        (np.full((4, 2), np.nan, np.float32), np.arange(4), None, r"values in \[0, 1\]"),
    ],
)
def test_an_image_set_refuses_what_does_not_fit_together(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], names: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ImageSet(images, labels, names)


def test_take_keeps_images_with_their_labels() -> None:
    taken = ImageSet(COLOUR, np.arange(4), tuple("abcd")).take(np.array([2, 0]))
    assert np.array_equal(taken.images, COLOUR[[2, 0]])
    assert taken.labels.tolist() == [2, 0]
    assert taken.class_names == tuple("abcd")
