"""Resampling with a smoothed bilinear or bicubic kernel, level for level as Pillow does it.

Most networks were trained on images that Pillow resized. OpenCV's kernels of these names do not smooth when
an image shrinks: the two differ by more than an attack changes an image. The sums are those of Pillow's
``Resample.c``: weights as whole numbers of 22 binary places, rows first, rounded to whole levels between the
two axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.manifest import Interpolation

_PLACES: Final = 22
_ROWS: Final = 256
"""Rows of a large image that are worked on together."""


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys 1981, a = −½."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_KERNELS: Final[dict[Interpolation, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]]] = {
    Interpolation.BILINEAR: (_bilinear, 1.0),
    Interpolation.BICUBIC: (_bicubic, 2.0),
}
"""Each with the distance at which it ends."""


@dataclass(frozen=True)
class _Weights:
    """What each of M new places is made of: T old places (M, T), and how much of each (M, T)."""

    places: NDArray[np.int64]
    parts: NDArray[np.int32]


def resample(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    interpolation: Interpolation,
    *,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> NDArray[np.uint8]:
    """Part of an image brought to another size.

    Args:
        image: uint8 (H, W, C).
        size: new height and width of the whole.
        interpolation: ``bilinear`` or ``bicubic``.
        rows: which of the new rows are wanted.
        columns: which of the new columns.
    """
    height, width = image.shape[:2]
    if size[1] == width:
        between = image[:, columns]
    else:
        across = _weights(width, size[1], interpolation, columns)
        bands = range(0, height, _ROWS)
        between = np.concatenate([_summed(image[first : first + _ROWS], across, axis=1) for first in bands])
    if size[0] == height:
        return np.ascontiguousarray(between[rows])
    return _summed(between, _weights(height, size[0], interpolation, rows), axis=0)


def _summed(image: NDArray[np.uint8], weights: _Weights, *, axis: int) -> NDArray[np.uint8]:
    shape = list(image.shape)
    shape[axis] = len(weights.places)
    total = np.full(shape, 1 << (_PLACES - 1), np.int32)
    spread = (-1, 1) if axis == 1 else (-1, 1, 1)
    for places, parts in zip(weights.places.T, weights.parts.T, strict=True):
        total += image.take(places, axis).astype(np.int32) * parts.reshape(spread)
    total >>= _PLACES
    return np.clip(total, 0, 255).astype(np.uint8)


def _weights(old: int, new: int, interpolation: Interpolation, wanted: slice) -> _Weights:
    kernel, reach = _KERNELS[interpolation]
    scale = old / new
    stretch = max(scale, 1.0)
    centre = ((np.arange(*wanted.indices(new)) + 0.5) * scale)[:, None]
    first = np.maximum((centre - reach * stretch + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + reach * stretch + 0.5).astype(np.int64), old)
    places = first + np.arange(int((stop - first).max()))
    shares = np.where(places < stop, kernel((places - centre + 0.5) * (1.0 / stretch)), 0.0)
    shares /= shares.sum(1, keepdims=True)
    scaled = shares * (1 << _PLACES)
    whole = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int32)
    return _Weights(np.minimum(places, old - 1), whole)
