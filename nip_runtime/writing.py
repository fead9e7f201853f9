"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nip_runtime.errors import InputError, NipError


def check_target(target: Path, *, error: type[NipError] = InputError) -> None:
    """Refuse, before long work, a path that cannot be written.

    Raises:
        NipError: of class ``error``: it is a folder, or its folder does not exist or may not be written to.
    """
    if target.is_dir():
        raise error(f"expected a file to write, got the folder {target}; name a file in it")
    if not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
        raise error(f"cannot write to the folder {target.parent}; create it or choose another")


@contextmanager
def replacing(target: Path, *, error: type[NipError] = InputError) -> Iterator[Path]:
    """A temporary path beside ``target``: takes its place if the block ends well, and goes if it does not.

    The content is on the disk before the name changes: after a power cut either file is whole.

    Raises:
        NipError: of class ``error``: the folder does not exist, can't be written to or is full, or
            ``target`` is a folder.
    """
    check_target(target, error=error)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    except OSError as cause:
        raise error(
            f"cannot write beside {target}: {cause.strerror}; create the folder or choose another"
        ) from cause
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _to_disk(temporary)
        temporary.replace(target)
    except OSError as cause:
        raise error(f"cannot write {target}: {cause.strerror}; the old file is as it was") from cause
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes, *, error: type[NipError] = InputError) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        NipError: as :func:`replacing`.
    """
    with replacing(target, error=error) as temporary:
        temporary.write_bytes(content)


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
