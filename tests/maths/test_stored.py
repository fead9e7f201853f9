"""Whether images were stored as JPEG is told from the images alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export.calibrate.stored import stored_as
from nip_export.defence.jpeg import round_trip
from nip_runtime.file.jpeg import QUALITIES
from nip_runtime.file.manifest import ViewStep
from tests.photographs import as_input, encoded, photograph

Floats = NDArray[np.float32]
UNIT = (0.0, 1.0)


def scenes(quality: int | None, *, size: int = 32, count: int = 24) -> Floats:
    """Cuttings of one scene, each stored by itself, or not."""
    scene = photograph(160, 200)
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        top, left = random.integers(0, 160 - size), random.integers(0, 200 - size)
        cutting = np.ascontiguousarray(scene[top : top + size, left : left + size])
        found.append(as_input(cutting if quality is None else encoded(cutting, quality)))
    return np.concatenate(found)


@pytest.mark.parametrize(("step", "quality"), QUALITIES.items())
def test_the_quality_of_a_real_encoder_is_found(step: ViewStep, quality: int) -> None:
    images = scenes(quality)
    assert stored_as(images, UNIT) is step
    assert stored_as(images * 2 - 1, (-1.0, 1.0)) is step


@pytest.mark.parametrize("size", [16, 24, 28, 40, 45])
def test_sizes_that_no_tile_divides_are_told_as_well(size: int) -> None:
    assert stored_as(scenes(75, size=size, count=64), UNIT) is ViewStep.JPEG_75
    assert stored_as(scenes(None, size=size, count=64), UNIT) is None


def test_grey_images_are_told_as_well() -> None:
    grey = scenes(None)[:, :1]
    stored = round_trip(grey, 75, UNIT)
    stored = np.rint(stored * 255).astype(np.float32) / np.float32(255)
    assert stored_as(stored, UNIT) is ViewStep.JPEG_75
    assert stored_as(grey, UNIT) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [8, 16])
def test_even_tiles_have_been_through_no_jpeg(channels: int, tile: int) -> None:
    """They lie well on every quality's lattice, and on none better than on the others."""
    tiles = np.random.default_rng(2).random((40, channels, 32 // tile, 32 // tile), np.float32)
    assert stored_as(np.kron(tiles, np.ones((1, 1, tile, tile), np.float32)), UNIT) is None


def test_images_from_first_to_last_are_looked_at() -> None:
    """Folders come class by class: what the first images are says little of the others."""
    stored, others = scenes(75, count=70), scenes(None, count=200)
    assert stored_as(stored, UNIT) is ViewStep.JPEG_75
    assert stored_as(np.concatenate([stored, others]), UNIT) is None


@pytest.mark.parametrize("what", ["never", "resized", "cropped", "best quality", "noise"])
def test_what_lies_on_no_lattice_is_told(what: str) -> None:
    match what:
        case "resized":
            large = scenes(75, size=64)
            images = np.stack(
                [cv2.resize(image.transpose(1, 2, 0), (48, 48)).transpose(2, 0, 1) for image in large]
            )
        case "cropped":
            images = scenes(75, size=48)[:, :, 3:43, 5:45]
        case "best quality":
            images = scenes(98)
        case "noise":
            images = np.random.default_rng(1).random((24, 3, 32, 32), np.float32)
        case _:
            images = scenes(None)
    assert stored_as(np.ascontiguousarray(images), UNIT) is None


@pytest.mark.parametrize("shape", [(24, 40), (24, 1, 256), (24, 2, 32, 32), (24, 3, 12, 32), (8, 3, 32, 32)])
def test_other_inputs_and_too_few_images_are_not_looked_at(shape: tuple[int, ...]) -> None:
    assert stored_as(np.zeros(shape, np.float32), UNIT) is None
