"""Puts files and folders into a repository that a server may be looking at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from nip_runtime.file.container.wire import Buffer
from nip_runtime.support.writing import replacing

Content = Buffer | None
"""Of a file; None for no file."""
Contents = Mapping[str, Content]
"""By path within a folder, with slashes, in the order of writing."""


def place(
    folder: Path,
    contents: Contents,
    *,
    repository: Path,
    check: Callable[[Path], object] = lambda made: None,
) -> None:
    """Make a folder and all that is in it at once: a server that looks sees all of it or nothing.

    Args:
        folder: to be made.
        contents: of the folder.
        repository: in which it lies, at any depth.
        check: gets the finished folder, of the same name elsewhere, and raises if it must not be placed.

    Raises:
        OSError: the folder is there already and not empty, or can't be written.
        InputError: the same for a file in it.
    """
    with tempfile.TemporaryDirectory(
        dir=_aside(repository), prefix=f".{folder.name}.", suffix=".part"
    ) as part:
        made = Path(part) / folder.name
        for name, content in contents.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            put(made / name, content)
        check(made)
        made.rename(folder)


def put(target: Path, content: Content) -> None:
    """Put content in its place, whole or not at all; None takes away what is there.

    Raises:
        OSError: a file can't be taken away.
        InputError: it can't be written.
    """
    if content is None:
        target.unlink(missing_ok=True)
        return
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def holds(path: Path, content: Content) -> bool:
    """Whether just this content is there already."""
    if content is None:
        return not path.exists()
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content[:]


def _aside(repository: Path) -> Path:
    """Where a folder can be made that is then renamed into the repository.

    Not in the repository if it can be helped: a server that polls it takes every folder for a model, hidden
    ones too.
    """
    parent = repository.absolute().parent
    same_disk = parent.stat().st_dev == repository.stat().st_dev
    return parent if same_disk and os.access(parent, os.W_OK) else repository
