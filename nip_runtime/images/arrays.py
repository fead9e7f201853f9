"""Array files to arrays: the header is believed only as far as the file goes."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.images.opened import open_file

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
    with open_file(path) as (file, size_bytes):
        try:
            magic = file.read(4)
            file.seek(0)
            if magic in _ZIP_MAGIC:
                return _from_archive(file, size_bytes, path)
            return _from_stream(file, size_bytes, path)
        except InputError:
            raise
        except MemoryError as error:
            raise _refused(path, "one that does not fit in memory", "split it") from error
        except Exception as error:  # what numpy and zipfile raise at hostile bytes has no common base
            got = " ".join(str(error).split()) or type(error).__name__
            raise _refused(path, got, "store it with numpy.save or numpy.savez") from error


def _from_archive(file: BinaryIO, size_bytes: int, path: Path) -> NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "images" not in members and len(members) != 1:
            raise InputError.mismatch(
                expected=f"an array named 'images' in {path}",
                got=", ".join(list(members)[:9]) or "none",
                fix="name it so",
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
            return _from_stream(member, size_bytes, path)  # to its end, where its checksum is compared


def _from_stream(stream: IO[bytes], size_bytes: int, path: Path) -> NDArray[Any]:
    shape, dtype, start = _header(stream)
    if dtype.hasobject:
        raise _refused(path, f"pickled Python objects (dtype {dtype})", "store numbers")
    wanted = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or wanted != size_bytes - start:
        raise _refused(
            path,
            f"{size_bytes - start} bytes where the header, {dtype} {shape}, asks for {wanted}",
            "write the file again",
        )
    stream.seek(0)
    array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and where the values start."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype, stream.tell()


def _refused(path: Path, got: str, fix: str) -> InputError:
    shown = got if len(got) <= _MOST_SHOWN else f"{got[:_MOST_SHOWN]} …"
    return InputError.mismatch(expected=f"a plain numpy array at {path}", got=shown, fix=fix)
