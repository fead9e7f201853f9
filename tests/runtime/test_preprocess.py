"""Resize and centre crop: level for level what Pillow makes, in files and arrays, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Interpolation, Layout, PreprocessSpec, Resize
from nip_runtime.inputs.images import crop_image, fit_images, needs_fitting, read_file
from nip_runtime.inputs.images.resample import resample

cv2: Any = pytest.importorskip("cv2")
PIL: Any = pytest.importorskip("PIL.Image")

KERNELS = {Interpolation.BILINEAR: PIL.Resampling.BILINEAR, Interpolation.BICUBIC: PIL.Resampling.BICUBIC}
SPEC = InputSpec(
    name="input",
    shape=(3, 12, 16),
    layout=Layout.NCHW,
    bounds=(0.0, 1.0),
    mean=None,
    std=None,
    resize=None,
    preprocess=PreprocessSpec(resize=20, crop=(12, 16), interpolation=Interpolation.BICUBIC),
)
GREY = replace(SPEC, shape=(1, 12, 16))


def drawn(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)


def by_pillow(image: NDArray[np.uint8], size: tuple[int, int], kernel: Interpolation) -> NDArray[np.uint8]:
    picture = PIL.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = np.asarray(picture.resize(size[::-1], KERNELS[kernel]), np.uint8)
    return resized.reshape(*size, image.shape[2])


def as_torchvision_does(image: NDArray[np.uint8], how: PreprocessSpec) -> NDArray[np.uint8]:
    """``Resize`` then ``CenterCrop`` of torchvision, by their documentation."""
    height, width = image.shape[:2]
    if height <= width:
        size = how.resize, int(how.resize * width / height)
    else:
        size = int(how.resize * height / width), how.resize
    top, left = (round((all_ - part) / 2.0) for all_, part in zip(size, how.crop, strict=True))
    return by_pillow(image, size, how.interpolation)[top : top + how.crop[0], left : left + how.crop[1]]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((37, 53), (16, 20)),
        ((16, 20), (37, 53)),
        ((301, 400), (24, 32)),
        ((9, 30), (9, 17)),
        ((1, 1), (4, 4)),
    ],
)
def test_every_level_is_pillows(
    old: tuple[int, int], new: tuple[int, int], channels: int, kernel: Interpolation
) -> None:
    image = drawn(*old, channels)
    np.testing.assert_array_equal(resample(image, new, kernel), by_pillow(image, new, kernel))


def test_part_of_an_image_is_that_part_of_the_whole() -> None:
    image, rows, columns = drawn(300, 41), slice(3, 9), slice(7, 11)
    whole = resample(image, (30, 33), Interpolation.BILINEAR)
    part = resample(image, (30, 33), Interpolation.BILINEAR, rows=rows, columns=columns)
    np.testing.assert_array_equal(part, whole[rows, columns])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(40, 64), (64, 41), (33, 20), (21, 21), (10, 9), (20, 20)])
def test_resized_and_cropped_as_torchvision_rounds(size: tuple[int, int], kernel: Interpolation) -> None:
    how = PreprocessSpec(resize=20, crop=(12, 17), interpolation=kernel)
    np.testing.assert_array_equal(crop_image(drawn(*size), how), as_torchvision_does(drawn(*size), how))


def test_area_is_opencvs() -> None:
    how = PreprocessSpec(resize=20, crop=(12, 16), interpolation=Interpolation.AREA)
    whole = cv2.resize(drawn(40, 64), (32, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(crop_image(drawn(40, 64), how), whole[4:16, 8:24])


def test_files_and_arrays_come_alike(tmp_path: Path) -> None:
    image = drawn(40, 64)
    assert cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    np.save(tmp_path / "a.npy", image[None])
    expected = crop_image(image, SPEC.preprocess)[None] if SPEC.preprocess is not None else None
    assert expected is not None
    assert expected.shape == (1, 12, 16, 3)
    for name in ("a.png", "a.npy"):
        np.testing.assert_array_equal(read_file(tmp_path / name, SPEC), expected)


def test_what_has_the_networks_size_stays(tmp_path: Path) -> None:
    image = drawn(12, 16)
    assert cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    np.testing.assert_array_equal(read_file(tmp_path / "a.png", SPEC)[0], image)
    assert not needs_fitting(image[None], SPEC)


def test_arrays_are_stretched_too_where_the_file_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", drawn(40, 64)[None])
    spec = replace(SPEC, preprocess=None, resize=Resize.AREA)
    stretched = cv2.resize(drawn(40, 64), (16, 12), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(read_file(tmp_path / "a.npy", spec)[0], stretched)
    with pytest.raises(InputError, match="bring the images to 12x16 pixels"):
        read_file(tmp_path / "a.npy", replace(spec, resize=None))


@pytest.mark.parametrize(
    ("images", "spec"),
    [
        (drawn(40, 64), SPEC),  # no batch axis
        (drawn(40, 64)[None].transpose(0, 3, 1, 2), SPEC),  # channels first
        (drawn(40, 64)[None].astype(np.float32) / 255, SPEC),
        (drawn(40, 64, 1), GREY),  # one image, or 40 of one column
        (drawn(40, 64, 4), GREY),
        (drawn(12, 16, 5)[..., 0][None].repeat(5, 0).transpose(1, 2, 0), GREY),  # the batch axis last
        (np.zeros((0, 40, 64, 3), np.uint8), SPEC),
        (drawn(40, 64)[None], replace(SPEC, layout=Layout.ANY, preprocess=None)),
    ],
    ids=[
        "one image",
        "channels first",
        "floats",
        "one grey image",
        "one with alpha",
        "batch last",
        "none",
        "no image",
    ],
)
def test_what_may_be_something_else_is_not_resized(images: NDArray[Any], spec: InputSpec) -> None:
    assert not needs_fitting(images, spec)


@pytest.mark.parametrize("shape", [(3, 40, 64, 1), (3, 40, 64)])
def test_grey_arrays_have_a_channel_axis_or_none(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert needs_fitting(images, GREY)
    assert fit_images(images, GREY).shape == (3, 12, 16, 1)


@pytest.mark.parametrize("interpolation", Interpolation)
def test_a_ribbon_takes_no_gigabytes(interpolation: Interpolation) -> None:
    how = PreprocessSpec(resize=256, crop=(224, 224), interpolation=interpolation)
    with pytest.raises(InputError, match="got 1x100000; cut it first"):
        crop_image(np.zeros((1, 100_000, 3), np.uint8), how)


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="resize: expected at least 224, the crop, got 200"):
        PreprocessSpec(resize=200, crop=(224, 224), interpolation=Interpolation.AREA)


@pytest.mark.parametrize(
    "changes", [{"resize": Resize.AREA}, {"shape": (3, 12, 12)}, {"layout": Layout.ANY}], ids=str
)
def test_an_input_has_one_way_to_its_size(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="preprocess: expected None"):
        replace(SPEC, **changes)
