"""Files that are there whole or not at all."""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from nip_runtime.errors import InputError, NipError

fcntl: Any
try:
    import fcntl
except ModuleNotFoundError:  # Windows, where an open file could not be renamed either
    fcntl = None

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".part"
_RANDOM: Final = re.compile(r"[a-z0-9_]{8}")  # as tempfile names its files
_UMASK: Final = re.compile(r"^Umask:\s+([0-7]+)$", re.MULTILINE)


def check_target(target: Path, *, error: type[NipError] = InputError) -> None:
    """Refuse, before long work, a path that cannot be written.

    Raises:
        NipError: of class ``error``: it is a folder, a device or a pipe, has too long a name, or its folder
            does not exist or may not be written to.
    """
    try:
        is_folder = target.is_dir()
        is_special = target.exists() and not target.is_file()
    except OSError as cause:  # a name too long, a folder that may not be looked into
        raise error(f"cannot write {target}: {_reason(cause)}; choose another path") from cause
    if is_folder:
        raise error(f"expected a file to write, got the folder {target}; name a file in it")
    if is_special:  # a rename would put a file in its place: in that of /dev/null, where root asks for it
        raise error(
            f"expected a file to write, got {target}, which is a device or a pipe; name a file elsewhere"
        )
    if not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
        raise error(f"cannot write to the folder {target.parent}; create it or choose another")


@contextmanager
def replacing(target: Path, *, error: type[NipError] = InputError) -> Iterator[Path]:
    """A temporary path beside ``target``: takes its place if the block ends well, and goes if it does not.

    The content is on the disk before the name changes: after a power cut either file is whole. A process
    that is killed leaves its temporary file, ``.NAME.RANDOM.part``; the next one that writes ``target``
    removes it. A file that is replaced passes its permissions on.

    The block writes to the path, as often as it likes, but does not put another file in its place.

    Raises:
        NipError: of class ``error``: the folder does not exist, can't be written to or is full, or
            ``target`` is a folder, a device or a pipe.
    """
    check_target(target, error=error)
    try:
        _remove_leftovers(target)
        handle, temporary = _create_beside(target)
    except OSError as cause:
        raise error(
            f"cannot write beside {target}: {_reason(cause)}; create the folder or choose another"
        ) from cause
    try:
        yield temporary
        _to_disk(temporary)
        temporary.chmod(_permissions(target))  # last: they may forbid even us to write
        temporary.replace(target)
    except OSError as cause:
        raise error(f"cannot write {target}: {_reason(cause)}; the old file is as it was") from cause
    finally:
        temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)
    _name_to_disk(target.parent)


def write_whole(target: Path, content: bytes, *, error: type[NipError] = InputError) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        NipError: as :func:`replacing`.
    """
    with replacing(target, error=error) as temporary:
        temporary.write_bytes(content)


def _create_beside(target: Path) -> tuple[int | None, Path]:
    """An empty file, and what holds its lock: as long as it is held, the file is no leftover.

    A lock, and no number of a process in the name: the system lets go of it however the process ends, and it
    means the same in another container or on another host that shares the folder.
    """
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=_prefix(target), suffix=_SUFFIX)
        path = Path(name)
        if fcntl is None:
            os.close(handle)
            return None, path
        with suppress(OSError):  # a file system without locks: then nobody can take the file for a leftover
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return handle, path
        os.close(handle)  # another process found it before it was locked


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of earlier writers of ``target`` that are no more."""
    if fcntl is None:
        return
    prefix = _prefix(target)
    for path in target.parent.iterdir():
        name = path.name
        if not (name.startswith(prefix) and name.endswith(_SUFFIX)):
            continue
        if _RANDOM.fullmatch(name[len(prefix) : -len(_SUFFIX)]):
            with suppress(OSError):  # another's file, or one that is gone by now
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            _log.info("removed %s, which a writer that was stopped left", path)
    finally:
        os.close(handle)


def _prefix(target: Path) -> str:
    return f".{target.name}."


def _permissions(target: Path) -> int:
    try:
        return stat.S_IMODE(target.stat().st_mode) & 0o777
    except OSError:  # no file yet, or a link to none
        return 0o666 & ~_umask()


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _name_to_disk(folder: Path) -> None:
    """Make the new name last. The file has taken its place: what can't be done here is no failure."""
    with suppress(OSError):  # Windows opens no folders, some network file systems sync none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    with suppress(OSError):  # first, because to ask otherwise is to change it, for all threads, for a moment
        found = _UMASK.search(Path("/proc/self/status").read_text(encoding="ascii"))
        if found is not None:
            return int(found[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _reason(cause: OSError) -> str:
    return cause.strerror or str(cause)
