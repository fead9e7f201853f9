"""What one bad file is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.abuse.files.seal import ManifestEdit, resealed, restated
from tests.abuse.files.tree import Edit


@dataclass(frozen=True)
class BadFile:
    """A file that must be refused with one error.

    Attributes:
        name: of the case, and of the file.
        says: regular expression that the error's message must match.
        place: puts the file into a folder and returns its path.
        shown: whether `nip inspect` shows it as a plain model instead of refusing it.
    """

    name: str
    says: str
    place: Callable[[Path], Path]
    shown: bool = False


def of_bytes(name: str, says: str, make: Callable[[], bytes], *, shown: bool = False) -> BadFile:
    """A bad file whose content is ``make()``."""

    def place(folder: Path) -> Path:
        path = folder / f"{name}.onnx"
        path.write_bytes(make())
        return path

    return BadFile(name, says, place, shown)


def of_graph(name: str, says: str, edit: Edit, *, of: str = "guarded") -> BadFile:
    """A golden file with its graph changed, the digest made to fit."""
    return of_bytes(name, says, lambda: resealed(edit, name=of))


def of_manifest(name: str, says: str, edit: ManifestEdit, *, of: str = "guarded") -> BadFile:
    """A golden file with its manifest changed."""
    return of_bytes(name, says, lambda: restated(edit, name=of))
