"""What is left of an image when it is made small: enough to tell a near-duplicate by."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError

SIDE: Final = 8
"""Rows and columns of a fingerprint."""


def fingerprints(images: object, *, bounds: tuple[float, float] = (0.0, 1.0)) -> NDArray[np.uint8]:
    """Every image in grey, averaged over a grid of 8 x 8 blocks: (N, 64), 0…255 over the range of values.

    Args:
        images: uint8 (N, H, W, C) or (N, H, W), or float32 (N, C, H, W) within ``bounds``; H and W of 8 or
            more.
        bounds: lowest and highest float value.

    Raises:
        InputError: for anything else. Values out of bounds are cut off.
    """
    array = np.asarray(images)
    is_uint8 = array.dtype == np.uint8
    if not ((array.ndim == 4 and (is_uint8 or array.dtype == np.float32)) or (array.ndim == 3 and is_uint8)):
        raise _no_images(array)
    if is_uint8:
        grey = array.astype(np.float32) if array.ndim == 3 else array.mean(axis=3, dtype=np.float32)
    else:
        low, high = bounds
        grey = (array.mean(axis=1, dtype=np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    if min(grey.shape[1:]) < SIDE:
        raise _no_images(array)
    for axis in (1, 2):
        edges = np.linspace(0, grey.shape[axis], SIDE + 1).astype(np.intp)
        widths = np.diff(edges).astype(np.float32)
        sums = np.add.reduceat(grey, edges[:-1], axis=axis)
        grey = sums / (widths[None, :, None] if axis == 1 else widths[None, None, :])
    small: NDArray[np.uint8] = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return small.reshape(len(array), SIDE * SIDE)


def digests(images: NDArray[Any]) -> NDArray[np.uint64]:
    """A number (N,) per image, the same for images that are the same bit for bit."""
    found = [blake2b(row.tobytes(), digest_size=8).digest() for row in images]
    return np.array([int.from_bytes(each, "little") for each in found], np.uint64)


def _no_images(array: NDArray[Any]) -> InputError:
    return InputError.mismatch(
        expected=f"images: uint8 (N, H, W, C) or (N, H, W), or float32 (N, C, H, W), {SIDE} pixels or more a "
        "side",
        got=f"{array.dtype} {array.shape}",
        fix="pass what the session is asked about; recordings and tables have no near-duplicates to look for",
    )
