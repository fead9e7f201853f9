"""Array files to arrays: the header is believed only as far as the file goes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.inputs.images.opened import open_file

MOST_INFLATED_BYTES: Final = 2**31
"""Of a compressed array in an ``.npz``: a thousandth of that may inflate to it."""
_MOST_SHOWN: Final = 200
_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")


def read_array(path: Path) -> NDArray[Any]:
    """Read an ``.npy`` file, or the array ``images`` (else the only one) of an ``.npz``. Never unpickles.

    Raises:
        InputError: if the file can't be read, is longer or shorter than its header says, does not fit in
            memory or inflates to more than ``MOST_INFLATED_BYTES``, or holds several arrays of which none is
            named ``images``.
    """
    with _found(path) as array:
        return array.read()


def decode_array(content: bytes, *, origin: str) -> NDArray[Any]:
    """Decode the bytes of an ``.npy`` file, as :func:`read_array` does; ``origin`` names them in errors.

    Raises:
        InputError: if they are more or fewer than the header says, or no plain array.
    """
    try:
        return _in_stream(BytesIO(content), len(content), origin, is_archived=False).read()
    except InputError:
        raise
    except Exception as error:  # as with files
        raise _refused(origin, _told(error), "store it with numpy.save") from error


def map_array(path: Path) -> NDArray[Any]:
    """As :func:`read_array`, but the values of an ``.npy`` file stay on the disk until they are asked for."""
    with _found(path) as array:
        return array.read() if array.is_archived else array.map()


def array_shape(path: Path) -> tuple[int, ...]:
    """The shape that :func:`read_array` would give, by header and size of the file: no value is read.

    Raises:
        InputError: as :func:`read_array`, for what is wrong before the values.
    """
    with _found(path) as array:
        return array.shape


@dataclass(frozen=True, kw_only=True)
class _Found:
    """An array in an open file, whose header agrees with the file's size."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int
    is_archived: bool

    def read(self) -> NDArray[Any]:
        self.stream.seek(0)
        array: NDArray[Any] = npy.read_array(self.stream, allow_pickle=False)
        return array

    def map(self) -> NDArray[Any]:
        if prod(self.shape) * self.dtype.itemsize == 0:  # nothing to map
            return self.read()
        order: Literal["F", "C"] = "F" if self.is_fortran else "C"
        file: Any = self.stream
        return np.memmap(file, self.dtype, mode="r", offset=self.start, shape=self.shape, order=order)


@contextmanager
def _found(path: Path) -> Iterator[_Found]:
    """Find the array of a file; words whatever goes wrong, here and with who uses it."""
    with open_file(path) as (file, size_bytes):
        try:
            magic = file.read(4)
            file.seek(0)
            if magic in _ZIP_MAGIC:
                with _archived(file, size_bytes, path) as found:
                    yield found
            else:
                yield _in_stream(file, size_bytes, path, is_archived=False)
        except InputError:
            raise
        except MemoryError as error:
            raise _refused(path, "one that does not fit in memory", "split it") from error
        except Exception as error:  # what numpy and zipfile raise at hostile bytes has no common base
            raise _refused(path, _told(error), "store it with numpy.save or numpy.savez") from error


@contextmanager
def _archived(file: BinaryIO, size_bytes: int, path: Path) -> Iterator[_Found]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "images" not in members and len(members) != 1:
            raise InputError.mismatch(
                expected=f"an array named 'images' in {path}",
                got=", ".join(list(members)[:9]) or "none",
                fix="store the images under that name",
            )
        info = members.get("images") or next(iter(members.values()))
        if info.compress_type != zipfile.ZIP_STORED and info.file_size > MOST_INFLATED_BYTES:
            raise _refused(
                path,
                f"{info.compress_size} bytes that inflate to {info.file_size}",
                "split it, or store it uncompressed with numpy.savez",
            )
        # What is stored as it is can't be longer than the archive, whatever its table of contents says.
        is_stored = info.compress_type == zipfile.ZIP_STORED
        size_bytes = min(info.file_size, size_bytes) if is_stored else info.file_size
        with archive.open(info) as member:
            # Is read to its end, where its checksum is compared.
            yield _in_stream(member, size_bytes, path, is_archived=True)


def _in_stream(stream: IO[bytes], size_bytes: int, path: Path | str, *, is_archived: bool) -> _Found:
    shape, is_fortran, dtype, start = _header(stream)
    if dtype.hasobject:
        raise _refused(path, f"pickled Python objects (dtype {dtype})", "store numbers")
    wanted = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted != size_bytes - start:
        raise _refused(
            path,
            f"{size_bytes - start} bytes where the header, {dtype} {shape}, asks for {wanted}",
            "write the file again",
        )
    return _Found(
        stream=stream,
        shape=shape,
        is_fortran=is_fortran,
        dtype=dtype,
        start=start,
        is_archived=is_archived,
    )


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether the first axis runs fastest, dtype, and where the values start."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    return shape, is_fortran, dtype, stream.tell()


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _refused(path: Path | str, got: str, fix: str) -> InputError:
    shown = got if len(got) <= _MOST_SHOWN else f"{got[:_MOST_SHOWN]} …"
    return InputError.mismatch(expected=f"a plain numpy array at {path}", got=shown, fix=fix)
