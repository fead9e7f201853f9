"""Array files: damaged, lying, hostile, or oddly laid out."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tests.abuse.inputs.file_case import PIXELS, SPEC, FileCase, of_bytes
from tests.abuse.inputs.image_files import encoded

BATCH: Final = np.stack([PIXELS, 255 - PIXELS])
FLOATS: Final = np.random.default_rng(1).random((2, *SPEC.shape), np.float32)
_HOLDS: Final = "where the header"


def saved(array: NDArray[Any], version: tuple[int, int] | None = None) -> bytes:
    """An ``.npy`` file."""
    buffer = BytesIO()
    npy.write_array(buffer, array, version=version)
    return buffer.getvalue()


def with_header(text: str, content: bytes = b"") -> bytes:
    """An ``.npy`` file whose header may say anything."""
    header = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def claiming(shape: str, dtype: str | list[tuple[str, str]] = "|u1", content: bytes = bytes(99)) -> bytes:
    """An ``.npy`` file that claims to be of this shape."""
    return with_header(f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}", content)


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def _patched(offset_from_directory: int, value: bytes, content: bytes) -> bytes:
    """An archive of one member with its table of contents changed, and its local header left."""
    place = content.rindex(b"PK\x01\x02") + offset_from_directory
    return content[:place] + value + content[place + len(value) :]


def _bomb(size_bytes: int, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Says that it inflates to this; the table of contents is all that has to be read to refuse it."""
    member = claiming(f"({size_bytes // 2016}, 28, 24, 3)", content=bytes(1 << 20))
    return _patched(24, size_bytes.to_bytes(4, "little"), archive(("images.npy", member), method=method))


def _encrypted() -> bytes:
    """Flags that say so, in both headers."""
    content = bytearray(archive(("images.npy", saved(BATCH))))
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _wrong_sum() -> bytes:
    content = archive(("images.npy", saved(BATCH)), method=zipfile.ZIP_STORED)
    return content.replace(BATCH.tobytes()[:50], bytes(50), 1)


def _pickled() -> bytes:
    buffer = BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _refused(name: str, suffix: str, make: Callable[[], bytes], error: str) -> FileCase:
    return FileCase(name=name, suffix=suffix, place=of_bytes(make), error=error)


def _read(name: str, suffix: str, make: Callable[[], bytes], content: NDArray[Any]) -> FileCase:
    return FileCase(name=name, suffix=suffix, place=of_bytes(make), content=content)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


_PLAIN: Final = "expected a plain numpy array at"

NPY: Final = (
    _refused("empty", ".npy", bytes, _PLAIN),
    _refused("no array", ".npy", lambda: b"nope", _PLAIN),
    _refused("an image", ".npy", lambda: encoded(".png"), _PLAIN),
    _refused("a pickle", ".npy", lambda: b"\x80\x04\x95" + bytes(9), _PLAIN),
    _refused("nothing but a magic", ".npy", lambda: b"\x93NUMPY", _PLAIN),
    _refused("a version to come", ".npy", lambda: b"\x93NUMPY\x09\x09" + bytes(99), _PLAIN),
    _refused("objects", ".npy", _pickled, "got pickled Python objects (dtype object); store numbers"),
    _refused(
        "objects in a structure", ".npy", lambda: claiming("(1,)", [("a", "|O")]), "pickled Python objects"
    ),
    _refused("half its values", ".npy", lambda: saved(BATCH)[:-2016], _HOLDS),
    _refused("one byte too few", ".npy", lambda: saved(BATCH)[:-1], _HOLDS),
    _refused("one byte too many", ".npy", lambda: saved(BATCH) + b"\0", _HOLDS),
    _refused("two arrays in a file", ".npy", lambda: saved(BATCH) + saved(BATCH), _HOLDS),
    _refused(
        "a header that asks for an exbibyte",
        ".npy",
        lambda: claiming("(2**60, 28, 24, 3)".replace("2**60", str(2**60))),
        _HOLDS,
    ),
    _refused("a header that asks for 2 to the 4000", ".npy", lambda: claiming(f"({2**4000},)"), _PLAIN),
    _refused(
        "a header that wraps around to nothing",
        ".npy",
        lambda: claiming(f"({2**32}, {2**32})", content=b""),
        _HOLDS,
    ),
    _refused("a negative shape", ".npy", lambda: claiming("(-1, 28, 24, 3)"), _HOLDS),
    _refused("two negatives", ".npy", lambda: claiming("(-1, -99)"), _HOLDS),
    _refused("a shape of text", ".npy", lambda: claiming("('a',)"), _PLAIN),
    _refused("no shape", ".npy", lambda: with_header("{'descr': '|u1'}"), _PLAIN),
    _refused("no dictionary", ".npy", lambda: with_header("[1, 2]"), _PLAIN),
    _refused("a call in its header", ".npy", lambda: with_header("__import__('os').abort()"), _PLAIN),
    _refused("brackets without end", ".npy", lambda: with_header("(" * 9000), _PLAIN),
    _refused("a header beyond reason", ".npy", lambda: with_header(" " * 60000), _PLAIN),
    _refused("an unclosed text", ".npy", lambda: with_header("{'descr: "), _PLAIN),
    _refused("a dtype nobody knows", ".npy", lambda: claiming("(1,)", "|u3"), _PLAIN),
    _refused("a dtype of a tebibyte", ".npy", lambda: claiming("(1,)", "|V1099511627776"), _PLAIN),
    _refused("the other byte order", ".npy", lambda: saved(FLOATS.astype(">f4")), "got dtype >f4"),
    _refused("doubles", ".npy", lambda: saved(FLOATS.astype(float)), "got dtype float64; convert"),
    _refused("a structure", ".npy", lambda: saved(FLOATS.view([("x", "<f4")])), "got dtype [('x'"),
    _refused("a single number", ".npy", lambda: saved(np.float32(1)), "got float32 ()"),  # type: ignore[arg-type]
    _refused("one image without batch axis", ".npy", lambda: saved(PIXELS), "images[None]"),
    FileCase(name="a folder", suffix=".npy", place=_folder, error="got a folder"),
    _read("Fortran order", ".npy", lambda: saved(np.asfortranarray(BATCH)), BATCH),
    _read("floats", ".npy", lambda: saved(FLOATS), FLOATS),
    _read("version 2", ".npy", lambda: saved(BATCH, (2, 0)), BATCH),
    _read("version 3", ".npy", lambda: saved(BATCH, (3, 0)), BATCH),
    _read("no rows", ".npy", lambda: saved(BATCH[:0]), BATCH[:0]),
    _read("an archive named npy", ".npy", lambda: archive(("images.npy", saved(BATCH))), BATCH),
)

NPZ: Final = (
    _refused("empty", ".npz", bytes, _PLAIN),
    _refused("no archive", ".npz", lambda: b"PK\x03\x04nope", _PLAIN),
    _refused("half an archive", ".npz", lambda: archive(("images.npy", saved(BATCH)))[:900], _PLAIN),
    _refused("no arrays", ".npz", archive, "got none; store the images under that name"),
    _refused(
        "two arrays of other names",
        ".npz",
        lambda: archive(("a.npy", b""), ("b.npy", b"")),
        "got a, b; store",
    ),
    _refused("a member that is no array", ".npz", lambda: archive(("images.npy", b"nope")), _PLAIN),
    _refused("a folder inside", ".npz", lambda: archive(("images/", b"")), _PLAIN),
    _refused("a bomb", ".npz", lambda: _bomb(0xF0000000), "bytes that inflate to 4026531840; split it"),
    _refused(
        "a bomb of another method", ".npz", lambda: _bomb(0xF0000000, zipfile.ZIP_LZMA), "that inflate to"
    ),
    _refused("a bomb that says it is stored", ".npz", lambda: _bomb(0xF0000000, zipfile.ZIP_STORED), _HOLDS),
    _refused("a member longer than it is", ".npz", lambda: _bomb(2016 * 999 + 96), _PLAIN),
    _refused(
        "a header that asks for more",
        ".npz",
        lambda: archive(("images.npy", claiming("(9999999, 28, 24, 3)"))),
        _HOLDS,
    ),
    _refused("values changed after the fact", ".npz", _wrong_sum, "Bad CRC-32"),
    _refused("a password", ".npz", _encrypted, "encrypted"),
    _refused(
        "a method nobody knows",
        ".npz",
        lambda: _patched(10, b"\x63\0", archive(("images.npy", saved(BATCH)))),
        _PLAIN,
    ),
    _refused("objects", ".npz", lambda: archive(("images.npy", _pickled())), "pickled Python objects"),
    _read("a path that leads out", ".npz", lambda: archive(("../../images.npy", saved(BATCH))), BATCH),
    _read("stored", ".npz", lambda: archive(("images.npy", saved(BATCH)), method=zipfile.ZIP_STORED), BATCH),
    _read(
        "labels beside it",
        ".npz",
        lambda: archive(("labels.npy", b"nope"), ("images.npy", saved(FLOATS))),
        FLOATS,
    ),
    _read("no rows", ".npz", lambda: archive(("x.npy", saved(BATCH[:0]))), BATCH[:0]),
)

ARRAY_FILES: Final = (*NPY, *NPZ)
