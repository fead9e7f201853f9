"""pyarrow, loaded when first needed."""

from __future__ import annotations

from typing import Any

from nip_runtime.dependencies import load


def arrow() -> Any:
    """The module ``pyarrow``.

    Raises:
        DependencyError: if it is missing.
    """
    return load("pyarrow")


def parquet() -> Any:
    """The module ``pyarrow.parquet``.

    Raises:
        DependencyError: if pyarrow is missing.
    """
    arrow()  # first, so that an error names the package and its extra
    return load("pyarrow.parquet")


def open_parquet(path: str) -> Any:
    """A ``ParquetFile`` that reads piece by piece: whole column chunks of images would fill the memory.

    Raises:
        OSError, ValueError: if it is none; pyarrow's errors are one or the other.
    """
    return parquet().ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
