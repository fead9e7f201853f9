"""Reads labelled images: a folder with one subfolder per class, or an ``.npz`` with ``images`` and
``labels``.

Decoding and resizing are the runtime's own, so that a model is profiled and calibrated on exactly the
pixels that `nip predict` would hand it.
"""

from __future__ import annotations

import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nip_export.data.images import ImageSet
from nip_runtime.errors import InputError
from nip_runtime.images import read_image, resize_image
from nip_runtime.manifest import Resize

_log = logging.getLogger(__name__)
_LITTER = frozenset({"thumbs.db", "desktop.ini"})
_LISTED = 5


def read_dataset(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    resize: Resize = Resize.AREA,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ImageSet:
    """Read labelled images.

    A folder gives uint8 (N, H, W, C), RGB: every subfolder is a class, numbered in sorted order of the names;
    files within it, at any depth, are its images, in sorted order. Hidden files are left out. A file that
    OpenCV cannot decode is an error and not left out, so that a data set never shrinks unnoticed.

    An ``.npz`` gives its ``images`` and ``labels`` (and ``class_names``, if there) as they are: uint8, or
    floats within the bounds as float32.

    Args:
        path: folder or ``.npz`` file.
        size: (height, width) to resize uint8 images to; None keeps their size, which must then be one.
        channels: 1 (grey) or 3 (RGB) for files; None takes 1 if every image is grey, else 3. For an ``.npz``
            it is only checked.
        resize: interpolation, to be pinned in the manifest.
        bounds: lowest and highest value of floats.

    Raises:
        InputError: nothing at `path`, no subfolders, a class without images, undecodable files (the first few
            and their number), images of several sizes without `size`, or arrays that fit no
            :class:`ImageSet`.
        DependencyError: OpenCV is needed and missing.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, size=size, channels=channels, resize=resize)
    if not path.is_file():
        raise InputError.mismatch(
            expected=f"a folder or an .npz file at {path}", got="nothing there", fix="check the path"
        )
    if path.suffix.lower() != ".npz":
        raise InputError.mismatch(
            expected="a folder with one subfolder per class, or an .npz with images and labels",
            got=str(path),
            fix="store it as one of the two",
        )
    return _read_npz(path, size=size, channels=channels, resize=resize, bounds=bounds)


def _read_folder(
    root: Path, *, size: tuple[int, int] | None, channels: int | None, resize: Resize
) -> ImageSet:
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise InputError.mismatch(
            expected=f"one subfolder per class in {root}", got="none", fix="sort the images into such folders"
        )
    files = [(file, label) for label, name in enumerate(names) for file in _files(root / name)]
    decoded: list[npt.NDArray[np.uint8]] = []
    refused: list[tuple[Path, InputError]] = []
    for file, _ in files:
        try:
            decoded.append(read_image(file, channels=3 if channels is None else channels))
        except InputError as error:
            refused.append((file, error))
    if refused:
        listed = ", ".join(str(file) for file, _ in refused[:_LISTED])
        more = f" and {len(refused) - _LISTED} more" if len(refused) > _LISTED else ""
        raise InputError.mismatch(
            expected=f"images that OpenCV can decode in {root}",
            got=f"{len(refused)} of {len(files)} files that it cannot: {listed}{more}",
            fix="convert or remove them",
        ) from refused[0][1]
    if channels is None and all(_is_grey(image) for image in decoded):
        decoded = [image[:, :, :1] for image in decoded]
    images = _stack(decoded, [file for file, _ in files], size=size, resize=resize)
    _log.info("read %d images of %d classes from %s", len(files), len(names), root)
    return ImageSet(images, np.array([label for _, label in files], np.int64), tuple(names))


def _files(folder: Path) -> list[Path]:
    found = [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.name.lower() not in _LITTER
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    if not found:
        raise InputError.mismatch(
            expected=f"images in the class folder {folder}", got="none", fix="add some or remove the folder"
        )
    return found


def _is_grey(image: npt.NDArray[np.uint8]) -> bool:
    red, green, blue = image[:, :, 0], image[:, :, 1], image[:, :, 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)


def _stack(
    images: list[npt.NDArray[np.uint8]], files: list[Path], *, size: tuple[int, int] | None, resize: Resize
) -> npt.NDArray[np.uint8]:
    if size is not None:
        height, width = size
        images = [resize_image(i, height=height, width=width, resize=resize) for i in images]
    odd = next((row for row, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise InputError.mismatch(
            expected="images of one size, or a size to bring them to",
            got="{}x{} in {} and {}x{} in {}".format(
                *images[0].shape[:2], files[0], *images[odd].shape[:2], files[odd]
            ),
            fix="name the model's input size",
        )
    return np.stack(images)


def _read_npz(
    path: Path,
    *,
    size: tuple[int, int] | None,
    channels: int | None,
    resize: Resize,
    bounds: tuple[float, float],
) -> ImageSet:
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        # Opened here, for numpy leaves the file open when it is no zip file.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError.mismatch(
            expected=f"a plain .npz file at {path}", got=str(error), fix="store it with numpy.savez"
        ) from error
    if not {"images", "labels"} <= arrays.keys():
        raise InputError.mismatch(
            expected=f"arrays named 'images' and 'labels' in {path}",
            got=", ".join(arrays) or "none",
            fix="store them under these names",
        )
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype.kind == "f":
        images = images.astype(np.float32)
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError.mismatch(
            expected=f"integer labels in {path}", got=str(labels.dtype), fix="store class numbers from 0"
        )
    names = arrays.get("class_names")
    result = ImageSet(
        images,
        labels.astype(np.int64),
        None if names is None else tuple(str(name) for name in names),
        bounds,
    )
    return _fit_arrays(result, path, size=size, channels=channels, resize=resize)


def _fit_arrays(
    data: ImageSet, path: Path, *, size: tuple[int, int] | None, channels: int | None, resize: Resize
) -> ImageSet:
    images = data.images
    if images.dtype != np.uint8:
        return data
    last = images if images.ndim == 4 else images[..., None]
    if channels is not None and last.shape[3] != channels:
        raise InputError.mismatch(
            expected=f"images of {channels} channels in {path}", got=str(images.shape), fix="convert them"
        )
    if size is None or last.shape[1:3] == size or len(last) == 0:
        return data
    height, width = size
    resized = [resize_image(i, height=height, width=width, resize=resize) for i in last.astype(np.uint8)]
    return ImageSet(np.stack(resized), data.labels, data.class_names, data.bounds)
