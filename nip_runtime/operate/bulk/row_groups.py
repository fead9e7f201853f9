"""Reads Parquet row groups forward, and remembers where it was.

Parquet has no way to begin in the middle of a row group, and many writers put a million rows into one. A
worker that does every second shard of such a file would read its start again for each of them; with what is
remembered here it reads the file once.
"""

from __future__ import annotations

import threading
from typing import Any

from nip_runtime.operate.bulk.arrow import open_parquet
from nip_runtime.operate.bulk.plan import Source

_Key = tuple[Source, int, str, int]
_here = threading.local()
"""A Dask worker may run several shards at once."""


class Reader:
    """The values of one column of one row group, ascending; keeps one block of them."""

    def __init__(self, source: Source, group: int, column: str, block: int) -> None:
        self._file = open_parquet(source.path)
        self._batches = self._file.iter_batches(
            batch_size=block, row_groups=[group], columns=[column], use_threads=False
        )
        self._column = column  # a name with a dot in it may bring others along
        self._first = 0
        self._values: Any = ()

    @property
    def first(self) -> int:
        """Values before this one are gone."""
        return self._first

    def value(self, index: int) -> Any:
        """One value as a pyarrow scalar.

        Raises:
            OSError, ValueError: if the group is damaged.
        """
        while index >= self._first + len(self._values):
            self._first += len(self._values)
            self._values = ()
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError("fewer rows than the file's footer states")
            self._values = batch.column(self._column)
        return self._values[index - self._first]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close(force=True)


def value_at(source: Source, group: int, column: str, index: int, block: int) -> Any:
    """Value ``index`` of a row group's column, as a pyarrow scalar.

    Raises:
        OSError, ValueError: if the group is damaged.
    """
    key = (source, group, column, block)
    reader = _remembered(key, index)
    try:
        return reader.value(index)
    except BaseException:
        forget()
        raise


def forget() -> None:
    """Close what this thread has open."""
    remembered: tuple[_Key, Reader] | None = getattr(_here, "reader", None)
    _here.reader = None
    if remembered is not None:
        remembered[1].close()


def _remembered(key: _Key, index: int) -> Reader:
    remembered: tuple[_Key, Reader] | None = getattr(_here, "reader", None)
    if remembered is not None and remembered[0] == key and remembered[1].first <= index:
        return remembered[1]
    forget()
    reader = Reader(*key)
    _here.reader = (key, reader)
    return reader
