"""Checks arrays at the door and turns them into what the graph takes: float32 (N, *shape) within bounds."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from math import isfinite, isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.result import RefusedRow

Images = NDArray[np.uint8 | np.float32]
"""What a defended file takes."""
_FLOAT32: Final = np.dtype(np.float32)
_UINT8: Final = np.dtype(np.uint8)
_WHITE: Final = np.float32(255)
_REPAIR: Final = "drop or repair such rows first"


class OnBadRow(StrEnum):
    """What ``predict`` does with a row that can't be answered."""

    RAISE = "raise"
    """Raises an error that names the first one; no row is answered."""
    SKIP = "skip"
    """Answers the others; the row keeps its place, without a label and flagged."""


def check_images(images: object, spec: InputSpec) -> Images:
    """Return ``images`` unchanged if the model described by ``spec`` can take them.

    Args:
        images: for layout NCHW uint8 (N, H, W, C), or (N, H, W) for one channel; for every layout float32
            (N, *shape) within ``spec.bounds``. N may be 0; strides may be anything. −0.0 and subnormal
            values are values like any other.
        spec: the manifest's input.

    Raises:
        InputError: for anything else; says what was expected, what came and how to convert it.
    """
    checked = check_kind(images, spec)
    check_values(checked, spec)
    return checked


def check_kind(images: object, spec: InputSpec) -> Images:
    """Check the array as a whole, type, dtype and shape, but none of its values.

    Raises:
        InputError: see :func:`check_images`.
    """
    if type(images) is not np.ndarray:
        images = _plain(images, spec)
    is_uint8 = images.dtype == _UINT8
    if images.dtype != _FLOAT32 and not (is_uint8 and spec.layout is Layout.NCHW):
        raise _mismatch(spec, f"dtype {images.dtype}", _cure_for_dtype(images, spec))
    if images.shape[1:] not in _accepted_shapes(is_uint8, spec) or images.ndim == 0:
        raise _mismatch(spec, f"{images.dtype} {images.shape}", _cure_for_shape(images, spec))
    return images


def check_values(images: Images, spec: InputSpec) -> None:
    """Look at every value of an array of the right kind.

    Raises:
        InputError: names the first row with NaN or Inf, else the first one out of bounds.
    """
    if _is_within(images, spec):
        return
    lowest, highest = _extremes(images)
    rows = _outside(lowest, highest, spec)
    if len(rows) == 0:  # another thread has put it right meanwhile
        return
    endless = np.flatnonzero(~(np.isfinite(lowest) & np.isfinite(highest)))
    if len(endless):
        row = endless[0]
        raise _mismatch(spec, f"{_endless(float(lowest[row]))} in row {row}", _REPAIR)
    least, most = float(lowest.min()), float(highest.max())
    got = f"values from {_value(least, spec)} to {_value(most, spec)} (first outside in row {rows[0]})"
    raise _mismatch(spec, got, _cure_for_range(least, most, spec))


def bad_rows(images: Images, spec: InputSpec) -> tuple[RefusedRow, ...]:
    """The rows of an array of the right kind that hold NaN, Inf or values out of bounds, ascending."""
    if _is_within(images, spec):
        return ()
    lowest, highest = _extremes(images)
    return tuple(
        RefusedRow(int(row), _why(float(lowest[row]), float(highest[row]), spec))
        for row in _outside(lowest, highest, spec)
    )


def to_float32(images: Images, spec: InputSpec) -> NDArray[np.float32]:
    """Turn checked images into a contiguous float32 (N, *shape) array.

    uint8 0…255 is stretched linearly over ``spec.bounds``: for [0, 1] it is divided by 255. float32 passes as
    it is, uncopied if it is contiguous and aligned.
    """
    if images.dtype == _FLOAT32:
        floats = np.ascontiguousarray(images, dtype=np.float32)
        return floats if floats.flags.aligned else floats.copy()
    channels, height, width = spec.shape
    low, high = spec.bounds
    channels_last = images.reshape(len(images), height, width, channels)
    floats = channels_last.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    floats /= _WHITE
    if (low, high) != (0.0, 1.0):
        floats *= np.float32(high - low)
        floats += np.float32(low)
        np.clip(floats, np.float32(low), np.float32(high), out=floats)
    return floats


def _plain(images: object, spec: InputSpec) -> NDArray[Any]:
    """A subclass as what it holds: its own methods are not asked, for they may say anything."""
    # type() and never isinstance(): an object may say of itself what it likes.
    if not issubclass(type(images), np.ndarray) or issubclass(type(images), np.ma.MaskedArray):
        raise _mismatch(spec, _type_name(images), _cure_for_object(images))
    return np.asarray(images)


def describe(spec: InputSpec) -> str:
    """What the model takes, in one phrase."""
    low, high = spec.bounds
    floats = f"float32 {_shown(spec.shape)} within [{low:g}, {high:g}]"
    if spec.layout is Layout.ANY:
        return floats
    return f"{' or '.join(f'uint8 {_shown(shape)}' for shape in _accepted_shapes(True, spec))} or {floats}"


def _accepted_shapes(is_uint8: bool, spec: InputSpec) -> list[tuple[int, ...]]:
    if not is_uint8:
        return [spec.shape]
    channels, height, width = spec.shape
    return [(height, width, channels), (height, width)][: 2 if channels == 1 else 1]


def _shown(shape: tuple[int, ...]) -> str:
    return f"(N, {', '.join(map(str, shape))})"


def _mismatch(spec: InputSpec, got: str, fix: str) -> InputError:
    return InputError.mismatch(expected=describe(spec), got=got, fix=fix)


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _cure_for_object(images: object) -> str:
    kind = type(images)
    if issubclass(kind, np.ma.MaskedArray):
        return "fill the masked values: images.filled(0)"
    if issubclass(kind, list | tuple):
        return "stack them: numpy.stack(images)"
    if _has(kind, "detach"):
        return "pass images.detach().cpu().numpy()"
    if issubclass(kind, str | bytes) or _has(kind, "__fspath__"):
        return "pass pixels, or use `nip predict` on files"
    return "pass numpy.asarray(images)"


def _has(kind: type, name: str) -> bool:
    """Like hasattr, without running any code of the object's."""
    return any(name in vars(base) for base in kind.__mro__)


def _cure_for_dtype(images: NDArray[Any], spec: InputSpec) -> str:
    if images.dtype == object:
        return "the items differ in shape: bring them to one size, then numpy.stack them"
    if images.dtype.kind == "f":
        return "convert with images.astype(numpy.float32)"
    if spec.layout is Layout.NCHW and images.dtype.kind in "iu":
        return "if these are pixels from 0 to 255, convert with images.astype(numpy.uint8)"
    return "convert them to float32 within the bounds"


def _cure_for_shape(images: NDArray[Any], spec: InputSpec) -> str:
    is_uint8 = images.dtype == np.uint8
    accepted = _accepted_shapes(is_uint8, spec)
    if images.shape in accepted:
        return "add the batch axis: images[None]"
    if spec.layout is Layout.NCHW:
        channels, height, width = spec.shape
        if is_uint8 and images.shape[1:] == spec.shape:
            return "uint8 images are channels-last: images.transpose(0, 2, 3, 1)"
        if not is_uint8 and images.shape[1:] == (height, width, channels):
            return "float images are channels-first: images.transpose(0, 3, 1, 2)"
        if not is_uint8 and channels == 1 and images.shape[1:] == (height, width):
            return "add the channel axis: images[:, None]"
        return f"bring the images to {height}x{width} pixels and {channels} channel{'s' * (channels > 1)}"
    return "bring every item to this shape, and put the batch axis first"


def _is_within(images: Images, spec: InputSpec) -> bool:
    if images.dtype != _FLOAT32 or images.shape[0] == 0:
        return True
    low, high = spec.bounds
    # Bits of floats from 0 up rise as their values do; those of negative ones, Inf and NaN lie above all.
    rising = low == 0 and images.flags.c_contiguous
    if rising and images.view(np.uint32).max() <= _bits(high):
        return True
    with np.errstate(invalid="ignore"):  # what a signalling NaN sets off
        # They carry a NaN through and make no copy; rows are looked at only when something is wrong.
        return bool(np.float32(low) <= images.min() and images.max() <= np.float32(high))


@lru_cache
def _bits(value: float) -> np.uint32:
    return np.float32(value).view(np.uint32)


def _extremes(images: Images) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lowest and highest value of every row, NaN where it holds one."""
    axes = tuple(range(1, images.ndim))
    with np.errstate(invalid="ignore"):
        return images.min(axis=axes), images.max(axis=axes)


def _outside(lowest: NDArray[Any], highest: NDArray[Any], spec: InputSpec) -> NDArray[np.intp]:
    low, high = map(np.float32, spec.bounds)
    return np.flatnonzero(~((low <= lowest) & (highest <= high)))


def _why(lowest: float, highest: float, spec: InputSpec) -> str:
    if not (isfinite(lowest) and isfinite(highest)):
        return str(_mismatch(spec, _endless(lowest), _REPAIR))
    got = f"values from {_value(lowest, spec)} to {_value(highest, spec)}"
    return str(_mismatch(spec, got, _cure_for_range(lowest, highest, spec)))


def _value(value: float, spec: InputSpec) -> str:
    """A value with as many digits as it takes to see that it is out of bounds, if it is."""
    short = f"{value:.6g}"
    return f"{value:.9g}" if float(short) in spec.bounds and value not in spec.bounds else short


def _endless(lowest: float) -> str:
    return "NaN" if isnan(lowest) else "Inf"


def _cure_for_range(lowest: float, highest: float, spec: InputSpec) -> str:
    if spec.layout is Layout.NCHW and spec.bounds == (0.0, 1.0):
        if lowest >= 0 and 2 < highest <= 255:
            return "these look like pixels from 0 to 255: divide by 255, or pass uint8"
        if lowest < -0.1 and spec.mean is not None:
            return "pass plain pixels: the file normalises them itself"
    low, high = spec.bounds
    return f"scale them, or clip small excess: images.clip({low:g}, {high:g})"
