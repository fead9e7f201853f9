"""Images on disk: more of them than memory should hold, read again row by row whenever they are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from nip_export.data.rowwise import Rowwise
from nip_runtime.errors import InputError

IN_MEMORY: Final = 2**28
"""Bytes up to which images stay in memory. What is larger is kept on disk: 50,000 photographs at 224×224
take 7.5 GB."""


class _Shelf:
    """A temporary file without a name, closed and gone when nobody holds it any more."""

    def __init__(self) -> None:
        self.file: Any = tempfile.TemporaryFile(prefix="nip-images-", buffering=0)  # noqa: SIM115
        finalize(self, self.file.close)


@dataclass(frozen=True, eq=False)
class StoredImages(Rowwise):
    """N equal arrays in a temporary file without a name, which is gone when nobody looks at it any more.

    Indexed by a slice, row numbers or a mask it gives an array in memory, as an array would.

    Attributes:
        shelf: where they are kept.
        item: shape of one array.
        dtype: of the arrays.
        rows: (N,) int64: which of those in the file, in which order.
    """

    shelf: _Shelf
    item: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        rows = np.atleast_1d(self.rows[chosen])
        values = np.empty((len(rows), *self.item), self.dtype)
        length = int(values[:1].nbytes)
        flat = values.reshape(len(rows), -1).view(np.uint8) if length else values
        # Rows that follow each other in the file are read at once. Not mapped: pages of a mapped file would
        # count as this process's own.
        first = 0
        for last in range(1, len(rows) + 1):
            if last < len(rows) and rows[last] == rows[last - 1] + 1:
                continue
            _read(self.shelf.file, flat[first:last], int(rows[first]) * length)
            first = last
        return values[0] if np.ndim(self.rows[chosen]) == 0 else values

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for row in range(len(self)):
            yield self[row]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> StoredImages:
        """Some of them, still on disk."""
        return StoredImages(self.shelf, self.item, self.dtype, self.rows[rows])


def _read(file: Any, into: NDArray[np.uint8], offset: int) -> None:
    target = into.reshape(-1).data
    file.seek(offset)
    done = 0
    while done < len(target):
        got = file.readinto(target[done:])
        if not got:
            raise InputError.mismatch(
                expected="the images that were stored in the temporary folder",
                got="a shorter file",
                fix="free space there, or name another folder with TMPDIR",
            )
        done += got


def store(arrays: Iterable[NDArray[Any]]) -> NDArray[Any] | StoredImages:
    """Keep equal arrays: in memory while they are few, else in a temporary file.

    Args:
        arrays: at least one, all of one shape and dtype.

    Returns:
        (N, *shape).

    Raises:
        InputError: no room in the temporary folder.
    """
    kept: list[NDArray[Any]] = []
    coming, held = iter(arrays), 0
    for array in coming:
        kept.append(array)
        held += array.nbytes
        if held > IN_MEMORY:
            return _on_disk(chain(kept, coming), first=array)
    return np.stack(kept)


def _on_disk(arrays: Iterable[NDArray[Any]], *, first: NDArray[Any]) -> StoredImages:
    shelf = _Shelf()
    count = 0
    try:
        for array in arrays:
            rest = np.ascontiguousarray(array).data.cast("B")
            while rest:
                rest = rest[shelf.file.write(rest) :]
            count += 1
    except OSError as error:
        raise InputError.mismatch(
            expected=f"room for all images in {tempfile.gettempdir()}, {first.nbytes} bytes each",
            got=f"{error.strerror or error} after {count}",
            fix="free space there, or name another folder with TMPDIR",
        ) from error
    return StoredImages(shelf, first.shape, first.dtype, np.arange(count))
