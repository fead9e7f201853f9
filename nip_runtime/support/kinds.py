"""What a file is that was named in place of another, by its first bytes, in the words of who named it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

UNKNOWN: Final = "something else"
ZIP: Final = "a zip archive, as .npz files and PyTorch checkpoints are"
SAFETENSORS: Final = "a safetensors file"
_STARTS: Final = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", ZIP),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was not fetched"),
    (b"-----BEGIN ", "a PEM key or certificate"),
    (b"<!doctype html", "a web page"),
    (b"<!DOCTYPE html", "a web page"),
    (b"<html", "a web page"),
)


def kind_of(content: bytes | bytearray | memoryview) -> str | None:
    """The kind of a well-known file, with its article; None where its first bytes tell nothing."""
    start = bytes(content[:32])
    if not start:
        return "an empty file"
    found = next((kind for signature, kind in _STARTS if start.startswith(signature)), None)
    # safetensors: how long its header is, in eight bytes, then the header, which is JSON.
    return SAFETENSORS if found is None and start[8:10] == b'{"' else found


def no_archive(path: Path) -> str | None:
    """What a file is that should be an .npz; None if it is a zip archive.

    numpy takes whatever it does not know for pickled objects, and says how to load these "unsafely".
    """
    if zipfile.is_zipfile(path):
        return None
    with path.open("rb") as file:
        return kind_of(file.read(32)) or UNKNOWN
