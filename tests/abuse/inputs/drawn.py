"""Arrays and damaged files drawn by chance, one per number, each with an oracle of what must come of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.arrays import OnBadRow
from nip_runtime.inputs.images import ARRAY_SUFFIXES, read_unjudged
from nip_runtime.session import DefendedSession
from tests.abuse.inputs.array_files import ARRAY_FILES
from tests.abuse.inputs.case import difference
from tests.abuse.inputs.file_case import SPEC, FileCase
from tests.abuse.inputs.image_files import DAMAGED, KINDS

_DTYPES: Final = (
    *("f4", "f4", "f4", "f4", "f4", "f4", "u1", "u1", "u1", ">f4", "f2", "f8", "g", "c8", "c16", "?"),
    *("i1", "i2", "i4", "i8", "u2", "u4", "u8", "S3", "U2", "V5", "M8[s]", "m8[ns]", "f4,u1"),
)
_ODD_VALUES: Final = np.array(
    [np.nan, np.inf, -np.inf, 255, -1e-45, 1.0000001, -0.0, 1e-45, 3e38], np.float32
)
_MEMORY_BYTES: Final = 1 << 20


def array_complaint(session: DefendedSession, number: int) -> str | None:
    """Ask for the array of this number; says what was not as defined, None if all was."""
    rng = np.random.default_rng(number)
    spec = session.manifest.input
    images = _array(rng, spec)
    way = OnBadRow.SKIP if rng.random() < 0.7 else OnBadRow.RAISE
    fits, bad = _oracle(images, spec)
    try:
        prediction = session.predict(images, on_bad_row=way)
    except InputError as error:
        is_due = not fits or (way is OnBadRow.RAISE and len(bad) > 0)
        return None if is_due and "\n" not in str(error) else f"{way}: {error}"
    except BaseException as error:  # whatever it is: nothing else is defined
        return f"{way}: {type(error).__name__}: {error}"
    if not fits or len(prediction) != len(images):
        return f"{way}: {len(prediction)} rows for {images.dtype} {images.shape}"
    if [row.row for row in prediction.refused] != bad.tolist():
        return f"{way}: refused {prediction.refused} instead of {bad.tolist()}"
    good = np.setdiff1d(np.arange(len(images)), bad).tolist()
    return difference(prediction, session.predict(np.ascontiguousarray(images[good])), good)


def _array(rng: np.random.Generator, spec: InputSpec) -> NDArray[Any]:
    dtype = np.dtype(str(rng.choice(_DTYPES)))
    rows = int(rng.choice([0, 1, 2, 5, 17, 40]))
    channels, height, width = spec.shape
    shapes = (
        (rows, *spec.shape),
        (rows, height, width, channels),
        (rows, height, width),
        spec.shape,
        (rows,),
        (),
    )
    chances = (0.5, 0.3, 0.05, 0.05, 0.05, 0.05) if dtype == "f4" else (0.1, 0.6, 0.15, 0.05, 0.05, 0.05)
    shape = shapes[rng.choice(len(shapes), p=chances)]
    memory = _memory(rng, dtype)
    if rng.random() < 0.5:
        strides = [int(rng.integers(-40, 41)) * int(rng.choice([1, dtype.itemsize])) for _ in shape]
        reach = sum(abs(stride) * (size - 1) for stride, size in zip(strides, shape, strict=True) if size)
        if reach < _MEMORY_BYTES // 2 - dtype.itemsize:
            middle = _MEMORY_BYTES // 2 + int(rng.integers(0, 8))
            return as_strided(memory[middle : middle + dtype.itemsize].view(dtype), shape, strides)
    count = int(np.prod(shape, dtype=int))
    values = memory[: count * dtype.itemsize].view(dtype).reshape(shape)
    return values if rng.random() < 0.7 else np.asfortranarray(values)


def _memory(rng: np.random.Generator, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
    """Any bits at all, or good values with few or many bad ones among them."""
    if dtype != "f4" or rng.random() < 0.2:
        return rng.integers(0, 256, _MEMORY_BYTES, np.uint8)
    values = rng.random(_MEMORY_BYTES // 4, np.float32)
    spots = rng.integers(0, len(values), int(rng.choice([0, 0, 1, 20, 400])))
    values[spots] = rng.choice(_ODD_VALUES, len(spots))
    return values.view(np.uint8)


def _oracle(images: NDArray[Any], spec: InputSpec) -> tuple[bool, NDArray[np.intp]]:
    """Whether the array as a whole fits, and which rows do not; written from the definition."""
    channels, height, width = spec.shape
    if images.dtype == np.dtype("f4"):
        if images.ndim == 0 or images.shape[1:] != spec.shape:
            return False, np.empty(0, np.intp)
        copied = np.array(images).reshape(len(images), channels * height * width)
        good = np.array([all(0 <= value <= 1 for value in row.tolist()) for row in copied], bool)
        return True, np.flatnonzero(~good)
    pixels = [(height, width, channels)] + ([(height, width)] if channels == 1 else [])
    return images.dtype == np.uint8 and images.ndim > 0 and images.shape[1:] in pixels, np.empty(0, np.intp)


@cache
def _seeds(folder: Path) -> tuple[tuple[FileCase, bytes], ...]:
    """Files of every kind, most of them good."""
    cases = [case for case in (*KINDS, *DAMAGED, *ARRAY_FILES) if case.name != "a folder"]
    found = []
    for case in cases:
        try:
            found.append((case, case.put(folder).read_bytes()))
        except ModuleNotFoundError:
            continue
    return tuple(found)


def file_complaint(number: int, folder: Path) -> str | None:
    """Read the damaged file of this number; says what was not as defined, None if all was."""
    rng = np.random.default_rng(number)
    (folder / "seeds").mkdir(exist_ok=True)
    seeds = _seeds(folder / "seeds")
    case, content = seeds[rng.integers(len(seeds))]
    path = folder / f"damaged{case.suffix}"
    path.write_bytes(_damaged(rng, content, seeds[rng.integers(len(seeds))][1]))
    try:
        found = read_unjudged(path, SPEC)
    except InputError as error:
        return None if "\n" not in str(error) else repr(str(error))
    except BaseException as error:  # whatever it is: nothing else is defined
        return f"{case.name}{case.suffix}: {type(error).__name__}: {error}"
    is_image = case.suffix not in ARRAY_SUFFIXES
    fits = found.shape == (1, 28, 24, 3) if is_image else _oracle(found[:0], SPEC)[0]
    return None if fits else f"{case.name}{case.suffix}: read as {found.dtype} {found.shape}"


def _damaged(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        size = len(changed)
        if size == 0:
            break
        place = int(rng.integers(size) if rng.random() < 0.5 else rng.integers(min(size, 64)))
        match rng.integers(7):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                changed[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
            case 2:
                changed[place : place + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"]
                )
            case 3:
                del changed[place:]
            case 4:
                del changed[place : place + int(rng.integers(1, 16))]
            case 5:
                changed[place:place] = rng.bytes(int(rng.integers(1, 16)))
            case _:
                changed[place:] = other[place:]
    return bytes(changed)
