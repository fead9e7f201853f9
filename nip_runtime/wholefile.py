"""Reads a file once, whole, into memory, and refuses what is no plain file of a bearable size.

A mapped file would take no copy, but whoever can write to it could change it between check and run, or cut it
off and end this process with SIGBUS. What is in memory stays what it is.
"""

from __future__ import annotations

import os
import stat
from io import FileIO
from pathlib import Path
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.reader import printable

# Opening a pipe must not wait for its other end.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_LONGEST_PATH: Final = 4096
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_whole(path: str | Path, most_bytes: int) -> bytes:
    """The bytes of the file at ``path``, following links.

    Args:
        path: a regular file.
        most_bytes: larger files are refused unread.

    Raises:
        ArtifactError: if there is none, it can't be read, it is too large, or it changes while it is read.
    """
    path = Path(path)
    try:
        _check(path, path.stat(), most_bytes)  # before opening: opening a device can have effects
        with FileIO(os.open(path, _FLAGS), "rb") as file:
            before = os.fstat(file.fileno())
            _check(path, before, most_bytes)
            content = file.read(before.st_size)
            while len(content) < before.st_size and (more := file.read(before.st_size - len(content))):
                content += more  # one read gives no more than 2 GiB, and less after a signal
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise _no_file(path, "nothing there") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ArtifactError.mismatch(
            expected=f"a readable file at {_shown(path)}",
            got=getattr(error, "strerror", None) or str(error),
            fix="check its path and permissions",
        ) from error
    if len(content) != after.st_size or _version(before) != _version(after):
        raise ArtifactError.mismatch(
            expected=f"a finished file at {_shown(path)}",
            got=f"one that changed while it was read ({before.st_size} bytes, then {after.st_size})",
            fix="write files beside their place and rename them, then open this one again",
        )
    return content


def _check(path: Path, found: os.stat_result, most_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _no_file(path, next((name for test, name in _KINDS if test(found.st_mode)), "no plain file"))
    if found.st_size > most_bytes:
        raise ArtifactError.mismatch(
            expected=f"a file of at most {most_bytes} bytes at {_shown(path)}",
            got=f"{found.st_size} bytes",
            fix="check which file this is",
        )


def _no_file(path: Path, got: str) -> ArtifactError:
    return ArtifactError.mismatch(expected=f"an ONNX file at {_shown(path)}", got=got, fix="check the path")


def _shown(path: Path) -> str:
    return printable(str(path), _LONGEST_PATH)


def _version(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino
