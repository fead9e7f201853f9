"""Reads a file once, whole, into memory, and refuses what is no plain file of a bearable size.

A mapped file would take no copy, but anybody who can write to it could change it between check and run, or
cut it off and end this process with SIGBUS. What is in memory stays what it is.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from nip_runtime.errors import ArtifactError, NipError
from nip_runtime.file.container.reader import printable

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


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a file is, for errors.

    Args:
        what: it is: "an ONNX file".
        fix: what to do if it is not there.
        error: raised instead.
    """

    what: str
    fix: str = "check the path"
    error: type[NipError] = ArtifactError

    def no_file(self, path: Path, got: str) -> NipError:
        """The error for a place where there is none."""
        return self.error.mismatch(expected=f"{self.what} at {_shown(path)}", got=got, fix=self.fix)


_MODEL: Final = Wanted(what="an ONNX file")


def read_whole(path: str | Path, most_bytes: int, wanted: Wanted = _MODEL) -> bytes:
    """The bytes of the file at ``path``, following links.

    Args:
        path: a regular file.
        most_bytes: larger files are refused unread.
        wanted: what it should be.

    Raises:
        NipError: of class ``wanted.error``: if there is none, it can't be read, it is too large, or it
            changes while it is read.
    """
    path = Path(path)
    try:
        _check(path, path.stat(), most_bytes, wanted)  # before opening: opening a device can have effects
        with FileIO(os.open(path, _FLAGS), "rb") as file:
            before = os.fstat(file.fileno())
            _check(path, before, most_bytes, wanted)
            content = file.read(before.st_size)
            while len(content) < before.st_size and (more := file.read(before.st_size - len(content))):
                content += more  # one read gives no more than 2 GiB, and less after a signal
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise wanted.no_file(path, "nothing there") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise wanted.error.mismatch(
            expected=f"a readable file at {_shown(path)}",
            got=getattr(error, "strerror", None) or str(error),
            fix="check its path and permissions",
        ) from error
    if len(content) != after.st_size or _version(before) != _version(after):
        raise wanted.error.mismatch(
            expected=f"a finished file at {_shown(path)}",
            got=f"one that changed while it was read ({before.st_size} bytes, then {after.st_size})",
            fix="write files beside their place and rename them, then open this one again",
        )
    return content


def _check(path: Path, found: os.stat_result, most_bytes: int, wanted: Wanted) -> None:
    if not stat.S_ISREG(found.st_mode):
        got = next((name for test, name in _KINDS if test(found.st_mode)), "no plain file")
        raise wanted.no_file(path, got)
    if found.st_size > most_bytes:
        raise wanted.error.mismatch(
            expected=f"a file of at most {most_bytes} bytes at {_shown(path)}",
            got=f"{found.st_size} bytes",
            fix="check which file this is",
        )


def _shown(path: Path) -> str:
    return printable(str(path), _LONGEST_PATH)


def _version(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino
