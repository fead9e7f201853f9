from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import DependencyError, InputError
from nip_runtime.file.manifest import InputSpec, Layout, Resize
from nip_runtime.inputs.images import find_files, read_array, read_file, read_image, resize_image

cv2: Any = pytest.importorskip("cv2")

RGB = InputSpec(
    name="input",
    shape=(3, 6, 8),
    layout=Layout.NCHW,
    bounds=(0.0, 1.0),
    mean=None,
    std=None,
    resize=None,
)
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def _write_rgb(path: Path, image: NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path


def test_colours_come_as_rgb(tmp_path: Path) -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    image[..., 0] = 255
    read = read_file(_write_rgb(tmp_path / "red é.png", image), RGB)
    assert read.shape == (1, 6, 8, 3)
    assert read[0, 0, 0].tolist() == [255, 0, 0]


def test_a_lossless_image_comes_back(tmp_path: Path) -> None:
    read = read_image(_write_rgb(tmp_path / "a.png", COLOURS), channels=3)
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, COLOURS)


def test_alpha_is_dropped_and_grey_becomes_colour(tmp_path: Path) -> None:
    with_alpha = np.dstack([COLOURS, np.full((6, 8), 7, np.uint8)])
    assert cv2.imwrite(str(tmp_path / "alpha.png"), with_alpha[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png", channels=3), COLOURS)
    grey = read_image(_write_rgb(tmp_path / "grey.png", COLOURS[..., 0]), channels=3)
    np.testing.assert_array_equal(grey, np.repeat(COLOURS[..., :1], 3, axis=2))


def test_grey_models_read_colour_as_luminance(tmp_path: Path) -> None:
    read = read_image(_write_rgb(tmp_path / "a.png", COLOURS), channels=1)
    luminance = COLOURS @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as OpenCV documents
    assert read.shape == (6, 8, 1)
    assert np.abs(read[..., 0] - luminance).max() <= 1


def test_without_a_pinned_resize_sizes_must_match(tmp_path: Path) -> None:
    path = _write_rgb(tmp_path / "a.png", COLOURS[:5])
    with pytest.raises(
        InputError, match=r"expected an image of 6x8 pixels \(height x width\), got 5x8; .*pins no"
    ):
        read_file(path, RGB)


def test_area_means_the_mean_of_the_covered_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    resized = resize_image(image, height=6, width=8, resize=Resize.AREA)
    means = image.reshape(6, 2, 8, 2, 3).mean(axis=(1, 3))
    assert np.abs(resized - means).max() <= 0.5


def test_the_resizes_differ_and_keep_a_single_channel() -> None:
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 1), np.uint8)
    area, linear = (resize_image(image, height=6, width=8, resize=resize) for resize in Resize)
    assert area.shape == linear.shape == (6, 8, 1)
    assert np.abs(area.astype(int) - linear).max() > 8


def test_finds_files_in_order(tmp_path: Path) -> None:
    hidden = ("b/.DS_Store", "b/._1.jpg", ".thumbnails/1.jpg", "b/.cache/a/2.png")
    for name in ("b/2.PNG", "b/1.jpg", "a/x.npy", "notes.txt", *hidden):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    outright = tmp_path / "notes.txt"
    found = [path.relative_to(tmp_path).as_posix() for path in find_files([outright, tmp_path])]
    assert found == ["notes.txt", "a/x.npy", "b/1.jpg", "b/2.PNG"]


def test_folders_come_sorted_whatever_the_file_system_says(tmp_path: Path) -> None:
    names = [f"{index:03}.png" for index in range(40)]
    for name in np.random.default_rng(0).permutation(names):
        (tmp_path / name).touch()
    assert [path.name for path in find_files([tmp_path])] == names


def test_pictures_of_phones_and_browsers_are_found_or_refused_by_name(tmp_path: Path) -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    for name in ("a.jfif", "b.jpe"):
        (tmp_path / name).write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    (tmp_path / "IMG_1.HEIC").write_bytes(bytes.fromhex("0000001c6674797068656963") + bytes(200))
    found = find_files([tmp_path])
    assert [path.name for path in found] == ["IMG_1.HEIC", "a.jfif", "b.jpe"]
    assert all(read_image(path, channels=3).shape == (4, 5, 3) for path in found[1:])
    with pytest.raises(InputError, match=r"IMG_1\.HEIC"):
        read_image(found[0], channels=3)


def test_missing_and_empty_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got nothing there"):
        find_files([tmp_path / "none.png"])
    with pytest.raises(InputError, match=r"expected images, .npy or .npz in folder .*, got none"):
        find_files([tmp_path])


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"not an image", "something OpenCV can't decode"),
        (b"\x89PNG\r\n\x1a\n broken", "something OpenCV can't decode"),
    ],
)
def test_an_undecodable_image_is_one_error(tmp_path: Path, content: bytes, got: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"got {got}"):
        read_file(path, RGB)


def test_models_that_take_no_images_say_so(tmp_path: Path) -> None:
    path = _write_rgb(tmp_path / "a.png", COLOURS)
    with pytest.raises(InputError, match=r"this model takes no images, got a.png"):
        read_file(path, replace(RGB, shape=(16,), layout=Layout.ANY))
    with pytest.raises(InputError, match="expected 1 or 3 channels for image files, got 4"):
        read_file(path, replace(RGB, shape=(4, 6, 8)))


def test_arrays_are_read_and_checked(tmp_path: Path) -> None:
    batch = COLOURS[None].repeat(3, axis=0)
    np.save(tmp_path / "a.npy", batch)
    np.savez(tmp_path / "b.npz", labels=np.arange(3), images=batch)
    np.savez(tmp_path / "c.npz", whatever=batch)
    for name in ("a.npy", "b.npz", "c.npz"):
        np.testing.assert_array_equal(read_file(tmp_path / name, RGB), batch)
    np.save(tmp_path / "d.npy", batch.astype(np.float64))
    with pytest.raises(InputError, match="got dtype float64"):
        read_file(tmp_path / "d.npy", RGB)


def test_array_files_that_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", x=COLOURS, y=COLOURS)
    with pytest.raises(InputError, match=r"expected an array named 'images' in .*, got x, y"):
        read_array(tmp_path / "two.npz")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"got pickled Python objects \(dtype object\); store numbers"):
        read_array(tmp_path / "pickled.npy")
    for name, content in (("broken.npy", b"nope"), ("broken.npz", b"PK\x03\x04nope"), ("empty.npy", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="expected a plain numpy array at"):
            read_array(tmp_path / name)


def test_a_missing_opencv_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write_rgb(tmp_path / "a.png", COLOURS)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DependencyError, match=r'pip install "nip-runtime\[vision\]"'):
        read_file(path, RGB)
