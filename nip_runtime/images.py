"""Files to arrays: image files through OpenCV, ``.npy`` and ``.npz`` through numpy."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.dependencies import load
from nip_runtime.errors import InputError
from nip_runtime.inputs import Images, check_images
from nip_runtime.manifest import InputSpec, Layout, Resize

ARRAY_SUFFIXES: Final = frozenset({".npy", ".npz"})
IMAGE_SUFFIXES: Final = frozenset(
    {".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""What a folder is searched for; a file that is named outright is read whatever its suffix."""


def find_files(paths: Iterable[str | Path]) -> list[Path]:
    """List the files that ``paths`` name: files as given, folders searched recursively in sorted order.

    Raises:
        InputError: if a path does not exist, or a folder holds no image and no array.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [p for p in path.rglob("*") if p.suffix.lower() in ARRAY_SUFFIXES | IMAGE_SUFFIXES]
            if not inside:
                raise InputError.mismatch(
                    expected=f"images, .npy or .npz in folder {path}", got="none", fix="name another folder"
                )
            found.extend(sorted(inside))
        elif path.exists():
            found.append(path)
        else:
            raise InputError.mismatch(
                expected=f"a file or folder at {path}", got="nothing there", fix="check the path"
            )
    return found


def read_file(path: Path, spec: InputSpec) -> Images:
    """Read one file as checked input of a model: (1, H, W, C) uint8 from an image, (N, …) from an array file.

    Raises:
        InputError: if the file can't be read or does not fit ``spec``.
        DependencyError: if it is an image and OpenCV is missing.
    """
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return check_images(read_array(path), spec)
    if spec.layout is not Layout.NCHW:
        raise InputError.mismatch(
            expected="an .npy or .npz file, for this model takes no images", got=path.name, fix="store arrays"
        )
    channels, height, width = spec.shape
    image = read_image(path, channels=channels)
    return check_images(resize_image(image, height=height, width=width, resize=spec.resize)[None], spec)


def read_image(path: Path, *, channels: int) -> NDArray[np.uint8]:
    """Read an image file as uint8 (H, W, C): RGB for 3 channels, grey for 1. Alpha is dropped.

    Raises:
        InputError: if ``channels`` is neither, or OpenCV can't decode the file.
        DependencyError: if OpenCV is missing.
    """
    try:
        # Not cv2.imread: on Windows that can't open names outside the system's code page.
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError.mismatch(
            expected=f"a readable file at {path}", got=str(error), fix="check its permissions"
        ) from error
    return decode_image(encoded, channels=channels, origin=str(path))


def decode_image(encoded: NDArray[np.uint8], *, channels: int, origin: str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file, as :func:`read_image` does; ``origin`` names them in errors.

    Raises:
        InputError: if ``channels`` is neither 1 nor 3, or OpenCV can't decode the bytes.
        DependencyError: if OpenCV is missing.
    """
    cv2: Any = load("cv2")
    if channels not in (1, 3):
        raise InputError.mismatch(
            expected="1 or 3 channels for image files", got=str(channels), fix="pass an .npy or .npz file"
        )
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        decoded = cv2.imdecode(encoded, flag) if len(encoded) else None
    except cv2.error:
        decoded = None
    if decoded is None:
        raise InputError.mismatch(
            expected=f"an image at {origin}",
            got="something OpenCV can't decode",
            fix="convert it or leave it out",
        )
    rgb = decoded[:, :, None] if channels == 1 else decoded[:, :, ::-1]  # OpenCV's order is BGR
    return np.ascontiguousarray(rgb, dtype=np.uint8)


def resize_image(
    image: NDArray[np.uint8], *, height: int, width: int, resize: Resize | None
) -> NDArray[np.uint8]:
    """Bring a uint8 (H, W, C) image to ``height`` x ``width``.

    Interpolations of different libraries differ by more than an attack does, so this follows the manifest and
    nothing else.

    Raises:
        InputError: if the size differs and ``resize`` is None.
        DependencyError: if the size differs and OpenCV is missing.
    """
    if image.shape[:2] == (height, width):
        return image
    if resize is None:
        raise InputError.mismatch(
            expected=f"an image of {height}x{width} pixels (height x width)",
            got="{}x{}".format(*image.shape[:2]),
            fix="resize it as the model's training data was; this file pins no resize",
        )
    cv2: Any = load("cv2")
    interpolation = {Resize.AREA: cv2.INTER_AREA, Resize.LINEAR: cv2.INTER_LINEAR}[resize]
    resized: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=interpolation)
    return resized.reshape(height, width, image.shape[2])  # OpenCV drops a single channel


def read_array(path: Path) -> NDArray[Any]:
    """Read an ``.npy`` file, or the array ``images`` (else the only one) of an ``.npz``. Never unpickles.

    Raises:
        InputError: if the file can't be read or holds several arrays of which none is named ``images``.
    """
    try:
        # numpy leaves a file that it opened itself open when the archive in it is broken.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            names = list(loaded.files)
            if "images" not in names and len(names) != 1:
                raise InputError.mismatch(
                    expected=f"an array named 'images' in {path}",
                    got=", ".join(names) or "none",
                    fix="name it so",
                )
            array: NDArray[Any] = loaded["images" if "images" in names else names[0]]
            return array
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError.mismatch(
            expected=f"a plain numpy array at {path}",
            got=str(error),
            fix="store it with numpy.save or numpy.savez",
        ) from error
