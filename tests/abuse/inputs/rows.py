"""Arrays of which rows can be answered: odd ones that must get the answers of plain ones, and bad rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nip_runtime.file.manifest import InputSpec
from tests.abuse.inputs.case import MAX_BATCH, Case, plain_floats, plain_pixels

Floats = NDArray[np.float32]
_TINY: Final = np.float32(1e-45)  # the smallest subnormal


class Overriding(np.ndarray[Any, Any]):
    """A subclass that lies, or fails, whatever is asked of it."""

    is_armed = False

    def __array_finalize__(self, source: object) -> None:
        if Overriding.is_armed:
            raise RuntimeError("asked to finalize")

    def __array_ufunc__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("asked to compute")

    def __array_function__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("asked to join in")

    def __getitem__(self, _: object) -> Any:
        raise RuntimeError("asked for an item")

    def __len__(self) -> int:
        return 10**9

    def shape(self) -> tuple[int, ...]:
        return (10**9, 1, 1, 1)

    shape = property(shape)  # type: ignore[assignment]

    def min(self, *_: object, **__: object) -> Any:
        return 0.0

    def max(self, *_: object, **__: object) -> Any:
        return 1.0

    def view(self, *_: object, **__: object) -> Any:
        raise RuntimeError("asked for a view")


def overriding(images: Floats) -> Floats:
    """The same values in an array that lies and fails."""
    Overriding.is_armed = False
    lying: Floats = np.ndarray.view(images, Overriding)
    Overriding.is_armed = True
    return lying


def _odd(name: str, make: Callable[[Floats], NDArray[Any]], rows: int = 6) -> Case:
    """The same values as the plain array, laid out oddly."""
    return Case(
        name=name,
        build=lambda spec, _: make(plain_floats(spec, rows)),
        plain=lambda spec: plain_floats(spec, rows),
    )


def _values(name: str, change: Callable[[Floats], None]) -> Case:
    """Odd values that are good ones."""

    def build(spec: InputSpec) -> Floats:
        images = plain_floats(spec)
        change(images)
        return images

    return Case(name=name, build=lambda spec, _: build(spec), plain=build)


def _bad(
    name: str,
    change: Callable[[Floats], Any],
    bad: Mapping[int, str],
    rows: int = 6,
    lay_out: Callable[[Floats], Floats] = np.asarray,
) -> Case:
    """Rows that ``change`` spoils."""

    def build(spec: InputSpec, _: Path) -> Floats:
        images = plain_floats(spec, rows)
        change(images)
        return lay_out(images)

    return Case(name=name, build=build, bad=bad, plain=lambda spec: plain_floats(spec, rows))


def _put(value: float | np.float32, *rows: int) -> Callable[[Floats], None]:
    def change(images: Floats) -> None:
        for row in rows:
            images[row].flat[-1] = value

    return change


def _put_bits(bits: int, row: int) -> Callable[[Floats], None]:
    def change(images: Floats) -> None:
        images.view(np.uint32)[row].flat[5] = bits

    return change


def _fill(images: Floats, value: float) -> None:
    images[...] = value


def _scale(images: Floats) -> None:
    images *= 255


def _unaligned(images: Floats) -> Floats:
    raw = np.empty(images.nbytes + 1, np.uint8)
    shifted: Floats = raw[1:].view(np.float32).reshape(images.shape)
    shifted[...] = images
    return shifted


def _read_only(images: Floats) -> Floats:
    images.flags.writeable = False
    return images


def _backwards(images: Floats) -> Floats:
    return np.ascontiguousarray(images[::-1, :, ::-1, ::-1])[::-1, :, ::-1, ::-1]


def _spread(images: Floats) -> Floats:
    wide = np.full([2 * size for size in images.shape], np.nan, np.float32)  # NaN between the values
    view = wide[::2, ::2, ::2, ::2]
    view[...] = images
    return view


def _mapped(spec: InputSpec, folder: Path) -> Floats:
    path = folder / "mapped.npy"
    np.save(path, plain_floats(spec))
    mapped: Floats = np.load(path, mmap_mode="r")
    return mapped


def _windows(spec: InputSpec) -> Floats:
    size = int(np.prod(spec.shape))
    values = np.random.default_rng(0).random(size + 9, np.float32)
    return sliding_window_view(values, size).reshape(-1, *spec.shape)


def _window_views(spec: InputSpec, _: Path) -> Floats:
    values = np.random.default_rng(0).random(int(np.prod(spec.shape)) + 9, np.float32)
    steps = np.array([np.prod(spec.shape[axis + 1 :], dtype=int) for axis in range(len(spec.shape))]) * 4
    return np.lib.stride_tricks.as_strided(values, (10, *spec.shape), (4, *map(int, steps)), writeable=False)


ODD: Final = (
    _odd("Fortran order", np.asfortranarray),
    _odd(
        "channels last in memory",
        lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    ),
    _odd("negative strides", _backwards),
    _odd("strides over NaN", _spread),
    _odd("read-only", _read_only),
    _odd("unaligned", _unaligned),
    _odd("a record array of plain floats", lambda images: images.view(np.recarray)),
    _odd("a subclass that lies and fails", overriding),
    _odd("a dtype with notes", lambda images: images.view(np.dtype(np.float32, metadata={"of": "pixels"}))),
    _odd("no rows", np.asarray, rows=0),
    _odd("one row", np.asarray, rows=1),
    _odd("as many rows as one run takes", np.asarray, rows=MAX_BATCH),
    _odd("one row more than one run takes", np.asarray, rows=MAX_BATCH + 1),
    _odd("many runs", np.asarray, rows=5 * MAX_BATCH + 3),
    _odd("many runs in Fortran order", np.asfortranarray, rows=5 * MAX_BATCH + 3),
    Case(name="a memory-mapped file", build=_mapped, plain=plain_floats),
    Case(name="windows that overlap in memory", build=_window_views, plain=_windows),
    Case(
        name="one row, repeated without memory",
        build=lambda spec, _: np.broadcast_to(plain_floats(spec, 1), (999, *spec.shape)),
        plain=lambda spec: np.repeat(plain_floats(spec, 1), 999, axis=0),
    ),
    Case(
        name="one value, repeated without memory",
        build=lambda spec, _: np.broadcast_to(np.float32(0.5), (40, *spec.shape)),
        plain=lambda spec: np.full((40, *spec.shape), 0.5, np.float32),
    ),
    Case(
        name="no rows of pixels",
        build=lambda spec, _: plain_pixels(spec, 0),
        plain=lambda spec: plain_pixels(spec, 0),
    ),
    Case(
        name="pixels backwards and read-only",
        build=lambda spec, _: plain_pixels(spec)[::-1, ::-1],
        plain=lambda spec: np.ascontiguousarray(plain_pixels(spec)[::-1, ::-1]),
    ),
    Case(
        name="grey pixels without channel axis",
        build=lambda spec, _: plain_pixels(spec)[..., 0],
        plain=plain_pixels,
    ),
    _values("minus zero", lambda images: _put(-0.0, *range(6))(images)),
    _values("nothing but minus zero", lambda images: _fill(images, -0.0)),
    _values("subnormal values", lambda images: _put(_TINY, *range(6))(images)),
    _values("nothing but subnormal values", lambda images: _fill(images, float(_TINY))),
    _values("nothing but the upper bound", lambda images: _fill(images, 1.0)),
)

_ABOVE: Final = np.nextafter(np.float32(1), np.float32(2))
_SECOND: Final = MAX_BATCH + 3

BAD: Final = (
    _bad("NaN", _put(np.nan, 2), {2: "got NaN"}),
    _bad("NaN in the first row", _put(np.nan, 0), {0: "got NaN"}),
    _bad("NaN in the last row", _put(np.nan, 5), {5: "got NaN"}),
    _bad("NaN in the only row", _put(np.nan, 0), {0: "got NaN"}, rows=1),
    _bad("a negative NaN", _put_bits(0xFFC00000, 1), {1: "got NaN"}),
    _bad("a NaN with a payload", _put_bits(0x7FC12345, 1), {1: "got NaN"}),
    _bad("a signalling NaN", _put_bits(0x7F800001, 1), {1: "got NaN"}),
    _bad("a negative signalling NaN", _put_bits(0xFF800001, 1), {1: "got NaN"}),
    _bad("Inf", _put(np.inf, 3), {3: "got Inf"}),
    _bad("minus Inf", _put(-np.inf, 3), {3: "got Inf"}),
    _bad("the largest float", _put(np.finfo(np.float32).max, 3), {3: "to 3.40282e+38"}),
    _bad("one step above the upper bound", _put(_ABOVE, 3), {3: "images.clip(0, 1)"}),
    _bad("one step below the lower bound", _put(-_TINY, 3), {3: "images.clip(0, 1)"}),
    _bad("values from 0 to 255", _scale, dict.fromkeys(range(6), "divide by 255")),
    _bad("nothing but NaN", lambda x: _fill(x, np.nan), dict.fromkeys(range(6), "got NaN")),
    _bad("nothing but Inf", lambda x: _fill(x, np.inf), dict.fromkeys(range(6), "got Inf")),
    _bad("every second row", _put(np.nan, 0, 2, 4), dict.fromkeys((0, 2, 4), "got NaN")),
    _bad(
        "NaN and Inf in one row", lambda x: (_put(np.inf, 2)(x), _put_bits(0x7FC00000, 2)(x)), {2: "got NaN"}
    ),
    _bad("in the second run", _put(np.nan, _SECOND), {_SECOND: "got NaN"}, rows=3 * MAX_BATCH),
    _bad(
        "all of the first run",
        _put(np.nan, *range(MAX_BATCH)),
        dict.fromkeys(range(MAX_BATCH), "got NaN"),
        rows=3 * MAX_BATCH,
    ),
    _bad(
        "all rows of many runs",
        lambda x: _fill(x, np.nan),
        dict.fromkeys(range(3 * MAX_BATCH), "got NaN"),
        rows=3 * MAX_BATCH,
    ),
    _bad("NaN in Fortran order", _put(np.nan, 2), {2: "got NaN"}, lay_out=np.asfortranarray),
    _bad("NaN behind negative strides", _put(np.nan, 2), {2: "got NaN"}, lay_out=_backwards),
    _bad("NaN in a read-only array", _put(np.nan, 2), {2: "got NaN"}, lay_out=_read_only),
    _bad("NaN in an unaligned array", _put(np.nan, 2), {2: "got NaN"}, lay_out=_unaligned),
    _bad(
        "a signalling NaN in Fortran order",
        _put_bits(0x7F800001, 1),
        {1: "got NaN"},
        lay_out=np.asfortranarray,
    ),
    _bad("NaN in a subclass that lies", _put(np.nan, 2), {2: "got NaN"}, lay_out=overriding),
)

ROWS: Final = (*ODD, *BAD)
