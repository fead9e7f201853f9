from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from nip_export.data import read_dataset
from nip_export.data.stored import StoredImages
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Resize

RNG = np.random.default_rng(0)


def write(path: Path, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Writes RGB or grey pixels with a lossless format; returns them as (H, W, C)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = image.ndim == 3
    assert cv2.imwrite(str(path), image[:, :, ::-1] if colour else image)
    return image if colour else image[:, :, None]


def rgb(height: int = 6, width: int = 5) -> npt.NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "set"


def test_subfolders_are_classes_in_sorted_order_whatever_the_format(folder: Path) -> None:
    second = write(folder / "dog" / "a.png", rgb())
    first = write(folder / "cat" / "b.bmp", rgb())
    third = write(folder / "dog" / "deeper" / "a.tiff", rgb())
    data = read_dataset(folder)
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, 1]
    assert np.array_equal(data.images, np.stack([first, second, third]))


def test_grey_files_give_one_channel_and_one_coloured_pixel_gives_three(folder: Path) -> None:
    grey = write(folder / "a" / "1.png", rgb()[:, :, 0])
    assert np.array_equal(read_dataset(folder).images, grey[None])
    coloured = np.repeat(grey, 3, axis=2)
    coloured[0, 0] = (1, 2, 3)
    write(folder / "a" / "2.png", coloured)
    assert read_dataset(folder).images.shape == (2, 6, 5, 3)
    assert read_dataset(folder, channels=1).images.shape == (2, 6, 5, 1)


def test_hidden_files_and_litter_are_left_out(folder: Path) -> None:
    write(folder / "a" / "1.png", rgb())
    for litter in (".DS_Store", "Thumbs.db", ".cache/x.png"):
        (folder / "a" / litter).parent.mkdir(exist_ok=True)
        (folder / "a" / litter).write_bytes(b"?")
    (folder / ".git").mkdir()
    data = read_dataset(folder)
    assert len(data) == 1
    assert data.class_names == ("a",)


def test_undecodable_files_are_counted_and_the_first_few_named(folder: Path) -> None:
    write(folder / "a" / "good.png", rgb())
    for number in range(7):
        (folder / "a" / f"bad{number}.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match="7 of 8 files") as caught:
        read_dataset(folder)
    message = str(caught.value)
    assert "bad0.png" in message
    assert "bad4.png" in message
    assert "bad5.png" not in message
    assert "and 2 more" in message


def test_sizes_that_differ_need_a_size(folder: Path) -> None:
    small = write(folder / "a" / "1.png", rgb(6, 5))
    large = write(folder / "a" / "2.png", rgb(18, 15))
    with pytest.raises(InputError, match=r"6x5 in .*1\.png and 18x15 in .*2\.png"):
        read_dataset(folder)
    images = read_dataset(folder, size=(6, 5)).images
    assert np.array_equal(images[0], small)
    # Area interpolation to a third is the mean of 3×3 pixels.
    means = large.reshape(6, 3, 5, 3, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(images[1] - means).max() <= 0.5
    assert not np.array_equal(images, read_dataset(folder, size=(6, 5), resize=Resize.LINEAR).images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "nothing there"),
        (lambda root: root.mkdir(), "one subfolder per class"),
        (lambda root: (root / "empty").mkdir(parents=True), "images in the class folder .*empty"),
        (lambda root: root.write_bytes(b""), "one of these"),
    ],
)
def test_a_path_without_images_says_what_is_missing(folder: Path, make: Any, message: str) -> None:
    make(folder)
    with pytest.raises(InputError, match=message):
        read_dataset(folder)


def test_an_npz_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.array([0, 2, 1], np.uint8), class_names=list("abc"))
    data = read_dataset(tmp_path / "x.npz")
    assert np.array_equal(data.images, images)
    assert data.labels.tolist() == [0, 2, 1]
    assert data.labels.dtype == np.int64
    assert data.class_names == ("a", "b", "c")


def test_float_arrays_of_any_width_become_float32(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=RNG.random((3, 7)), labels=np.zeros(3, np.int64))
    data = read_dataset(tmp_path / "x.npz", size=(9, 9))
    assert data.images.dtype == np.float32
    assert data.images.shape == (3, 7)
    assert data.class_names is None


def test_npz_images_are_resized_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.full((2, 8, 8), 9, np.uint8), labels=np.zeros(2, np.int64))
    assert (
        read_dataset(tmp_path / "x.npz", size=(4, 4)).images.reshape(2, 4, 4).tolist() == [[[9] * 4] * 4] * 2
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(1)}, "'images' and 'labels'"),
        ({"images": np.zeros((1, 2, 2), np.uint8), "labels": np.zeros(1)}, "integer labels"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.zeros(1, int)}, "one per image"),
        ({"images": np.array([{}, 1], object), "labels": np.zeros(2, int)}, "pickled Python objects"),
        ({"images": np.zeros((1, 2, 2, 4), np.uint8), "labels": np.zeros(1, int)}, "1 channels"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path / "x.npz", channels=1)


@pytest.mark.parametrize("damage", ["header", "data", "npy"])
def test_a_broken_npz_is_refused(tmp_path: Path, damage: str) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=RNG.random((3, 7)), labels=np.zeros(3, np.int64))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    if damage == "header":
        content = bytearray(b"PK\x03\x04 broken")
    elif damage == "data":
        content[80:90] = bytes(10)
    else:
        np.save(tmp_path / "y.npy", np.zeros(3))
        content = bytearray((tmp_path / "y.npy").read_bytes())
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"plain \.npz|'images' and 'labels'"):
        read_dataset(tmp_path / "x.npz")


def test_folders_named_by_number_keep_their_number(folder: Path) -> None:
    for name in ("10", "2", "007"):
        write(folder / name / "a.png", rgb())
    data = read_dataset(folder)
    assert data.class_names is None
    assert sorted(data.labels.tolist()) == [2, 7, 10]
    two = cv2.imread(str(folder / "2" / "a.png"))
    assert two is not None
    assert np.array_equal(data.images[data.labels == 2][0], two[:, :, ::-1])


def test_a_flat_folder_is_read_where_nobody_asks_for_labels(folder: Path) -> None:
    images = [write(folder / f"{number}.png", rgb()) for number in range(3)]
    with pytest.raises(InputError, match=r"got 3 files and no subfolder; .* --unlabelled"):
        read_dataset(folder)
    told: list[int] = []
    data = read_dataset(folder, is_labelled=False, progress=lambda stage, total: told.append)
    assert not data.is_labelled and data.class_names is None
    assert np.array_equal(data.images, np.stack(images))
    assert sum(told) == 3


@pytest.mark.parametrize("size", [None, (3, 4)], ids=["own size", "resized"])
def test_large_sets_are_kept_on_disk_and_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] | None
) -> None:
    images = np.stack([write(folder / "a" / f"{number}.png", rgb()[:, :, 0]) for number in range(5)])
    np.savez(tmp_path / "x.npz", images=images, labels=np.zeros(5, np.int64))
    np.savez_compressed(tmp_path / "f.npz", images=images / 255, labels=np.zeros(5, np.int64))
    paths = (folder, tmp_path / "x.npz", tmp_path / "f.npz")
    here = [read_dataset(path, size=size) for path in paths]
    for name in ("stored", "archive"):
        monkeypatch.setattr(f"nip_export.data.{name}.IN_MEMORY", 10)
    there = [read_dataset(path, size=size) for path in paths]
    for few, many in zip(here, there, strict=True):
        assert isinstance(few.kept, np.ndarray) and isinstance(many.kept, StoredImages)
        assert np.array_equal(few.images, many.images)
        assert few.digest() == many.digest()
    assert there[0].images.shape == (5, *(size or (6, 5)), 1), "grey files are one channel on disk too"


def test_an_npz_without_labels_names_the_option(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(InputError, match=r"--unlabelled"):
        read_dataset(tmp_path / "x.npz")
    assert len(read_dataset(tmp_path / "x.npz", is_labelled=False)) == 3
