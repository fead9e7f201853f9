"""Which files a command's arguments name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.sound import SOUND_SUFFIXES

ARRAY_SUFFIXES: Final = frozenset({".npy", ".npz"})
IMAGE_SUFFIXES: Final = frozenset(
    [
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jxl",
        ".pbm",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""What a folder is searched for; a file that is named outright is read whatever its suffix. Where
OpenCV's version can't read one of them (HEIC mostly), its own error says so: nothing goes missing."""


def suffixes_of(spec: InputSpec) -> frozenset[str]:
    """What a folder is searched for on behalf of a model: arrays, and recordings or images."""
    return ARRAY_SUFFIXES | (IMAGE_SUFFIXES if spec.sound is None else SOUND_SUFFIXES)


def closed_place(path: Path, error: OSError) -> InputError:
    """The error for a path that the system does not let anybody look at."""
    return InputError.mismatch(
        expected=f"a file or folder at {path}",
        got=error.strerror or str(error),
        fix="check the path and its permissions",
    )


def find_files(
    paths: Iterable[str | Path], suffixes: frozenset[str] = ARRAY_SUFFIXES | IMAGE_SUFFIXES
) -> list[Path]:
    """List the files that ``paths`` name: files as given, folders searched recursively in sorted order.

    Folders are searched for names that end in one of ``suffixes``; hidden files and folders in them, whose
    names begin with a dot, are left out, as by the export (systems keep thumbnails and the like there).
    Links to folders inside a folder are not followed, so no loop can be walked into. Whatever else bears
    such a name is listed, be it a broken link or a folder that can't be searched: reading it
    then says so, and nothing goes missing in silence.

    Raises:
        InputError: if a path does not exist, or a folder holds nothing of the kind.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            if path.is_dir():
                found.extend(_inside(path, suffixes))
                continue
            exists = path.exists()
        except OSError as error:  # a name too long, a folder on the way that can't be entered
            raise closed_place(path, error) from error
        if not exists:
            raise InputError.mismatch(
                expected=f"a file or folder at {path}", got="nothing there", fix="check the path"
            )
        found.append(path)
    return found


def visible_files(
    folder: Path, suffixes: frozenset[str], *, onerror: Callable[[OSError], None]
) -> Iterator[Path]:
    """The files below a folder whose names end in one of ``suffixes``, in no order.

    Hidden ones, and those in hidden folders, are left out; links to folders are not followed.

    Args:
        folder: where to look.
        suffixes: in lower case.
        onerror: called for every folder that can't be searched.
    """
    for parent, folders, names in os.walk(folder, onerror=onerror):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(parent, name)


def _inside(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    found: list[Path] = []

    def keep(error: OSError) -> None:
        found.append(Path(error.filename))

    found.extend(visible_files(folder, suffixes, onerror=keep))
    if not found:
        kind = "images" if suffixes >= IMAGE_SUFFIXES else "recordings"
        raise InputError.mismatch(
            expected=f"{kind}, .npy or .npz in folder {folder}", got="none", fix="name another folder"
        )
    return sorted(found)
