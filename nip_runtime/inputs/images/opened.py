"""Opens a file for reading, if it is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from nip_runtime.errors import InputError


@contextmanager
def open_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file; gives it and its size in bytes.

    Folders, pipes and devices are refused unopened: some would be waited for, or read, without end.

    Raises:
        InputError: if it can't be opened or read, or is no regular file.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            got = "a folder" if path.is_dir() else "a pipe, device or socket"
            raise InputError.mismatch(
                expected=f"a readable file at {path}", got=got, fix="store the content in a file"
            )
        with path.open("rb") as file:
            yield file, status.st_size
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        got = getattr(error, "strerror", None) or str(error)
        raise InputError.mismatch(
            expected=f"a readable file at {path}", got=got, fix="check the path and its permissions"
        ) from error
