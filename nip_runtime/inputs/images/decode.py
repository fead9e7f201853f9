"""Image files to pixels, through OpenCV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.inputs.images.declared import declared_size, lacks_end
from nip_runtime.inputs.images.opened import open_file
from nip_runtime.support.dependencies import load

MOST_PIXELS: Final = 2**27
"""Width times height of an image: 400 MB as RGB. A file that declares more is refused undecoded."""
_MOST_ENCODED_BYTES: Final = 2**30


def quieten_opencv() -> None:
    """Settle what OpenCV reads when it is loaded, here and in processes to come: for commands, no library.

    A damaged file is told about once, and by us; and what a header hides from us is bounded too.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))


def read_image(path: Path, *, channels: int) -> NDArray[np.uint8]:
    """Read an image file as uint8 (H, W, C): RGB for 3 channels, grey for 1.

    Whatever the file holds becomes that: alpha is dropped, 16 bits are cut to the upper 8, grey is repeated,
    CMYK is converted without its colour profile, an image is turned upright as its EXIF data say, and of
    several pages or frames the first is taken, where OpenCV's version reads such files.

    Raises:
        InputError: if ``channels`` is neither, the file can't be read, OpenCV can't decode it, or it
            declares more than ``MOST_PIXELS`` pixels.
        DependencyError: if OpenCV is missing.
    """
    with open_file(path) as (file, size_bytes):
        if size_bytes > _MOST_ENCODED_BYTES:
            raise InputError.mismatch(
                expected=f"an image file of at most {_MOST_ENCODED_BYTES} bytes at {path}",
                got=str(size_bytes),
                fix="convert it or leave it out",
            )
        # Not cv2.imread: on Windows that can't open names outside the system's code page.
        encoded = np.fromfile(file, np.uint8)
    return decode_image(encoded, channels=channels, origin=str(path))


def decode_image(encoded: NDArray[np.uint8], *, channels: int, origin: str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file, as :func:`read_image` does; ``origin`` names them in errors.

    Raises:
        InputError: if ``channels`` is neither 1 nor 3, OpenCV can't decode the bytes, or they declare more
            than ``MOST_PIXELS`` pixels.
        DependencyError: if OpenCV is missing.
    """
    cv2: Any = load("cv2")
    if channels not in (1, 3):
        raise InputError.mismatch(
            expected="1 or 3 channels for image files", got=str(channels), fix="pass an .npy or .npz file"
        )
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        _check_declared(encoded.tobytes(), origin)
        decoded = cv2.imdecode(encoded, flag)
    except (cv2.error, ValueError, MemoryError) as error:
        raise _undecodable(origin) from error
    if decoded is None:
        raise _undecodable(origin)
    rgb = decoded[:, :, None] if channels == 1 else decoded[:, :, ::-1]  # OpenCV's order is BGR
    return np.ascontiguousarray(rgb, dtype=np.uint8)


def _check_declared(content: bytes, origin: str) -> None:
    if not content:
        raise InputError.mismatch(
            expected=f"an image at {origin}", got="an empty file", fix="copy it again, or leave it out"
        )
    size = declared_size(content)
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise InputError.mismatch(
            expected=f"an image of at most {MOST_PIXELS} pixels at {origin}",
            got="{} x {} in its header".format(*size),
            fix="make it smaller or leave it out",
        )
    if lacks_end(content):
        raise InputError.mismatch(
            expected=f"an image at {origin}",
            got="a JPEG file that was cut off",
            fix="copy it again, or leave it out",
        )


def _undecodable(origin: str) -> InputError:
    return InputError.mismatch(
        expected=f"an image at {origin}",
        got="something OpenCV can't decode",
        fix="convert it or leave it out",
    )
