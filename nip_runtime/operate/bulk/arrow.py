"""pyarrow, loaded when first needed."""

from __future__ import annotations

import os
from typing import Any

from nip_runtime.support.dependencies import load


def arrow() -> Any:
    """The module ``pyarrow``.

    Raises:
        DependencyError: if it is missing.
    """
    load("pyarrow.compute")  # else an attribute only once somebody has imported it
    return load("pyarrow")


def parquet() -> Any:
    """The module ``pyarrow.parquet``.

    Raises:
        DependencyError: if pyarrow is missing.
    """
    arrow()  # first, so that an error names the package and its extra
    return load("pyarrow.parquet")


def arrow_errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises at damaged files and types that it can't read; most are OSError or ValueError."""
    return OSError, ValueError, arrow().lib.ArrowException


def open_parquet(path: str) -> Any:
    """A ``ParquetFile`` that reads piece by piece: whole column chunks of images would fill the memory.

    Its ``close(force=True)`` closes the file; the end of a ``with`` leaves that to the last reference.

    Raises:
        OSError, ValueError, ArrowException: if it is none; see :func:`arrow_errors`.
    """
    file = arrow().OSFile(os.fsencode(path))  # as a string it would have to be UTF-8
    try:
        return parquet().ParquetFile(
            file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True
        )
    except BaseException:
        file.close()
        raise
