"""Files packed into parts small enough to travel, and unpacked again with every digest checked.

Every file is compressed by itself, so that a machine with many cores unpacks many at once; the archive of all
is cut into parts of equal size. ``manifest.json`` beside them lists parts and files with their SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu.plan import PART_LIMIT_BYTES
from nip_runtime.errors import InputError
from nip_runtime.support.writing import write_whole

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_DENSE: Final = frozenset({".onnx", ".npy", ".npz", ".safetensors"})
"""Trained numbers hardly shrink, however long one tries."""
_QUICK, _THOROUGH = 0, 6


@dataclass(frozen=True)
class Piece:
    """A part, or a file that parts hold: its name, size and digest."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Absent:
    """What is not there, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a set of parts is.

    Attributes:
        created: when, UTC.
        commit: that made it.
        runtime: the onnxruntime inside.
        parts: in order.
        files: that they hold.
        left_out: networks and files of onnxruntime that they do not hold.
    """

    created: str
    commit: str
    runtime: str
    parts: tuple[Piece, ...]
    files: tuple[Piece, ...]
    left_out: tuple[Absent, ...]


class _Cutter(io.RawIOBase):
    """Writes a stream into files of at most `part_bytes`."""

    def __init__(self, folder: Path, part_bytes: int) -> None:
        self._folder, self._part_bytes = folder, part_bytes
        self._buffer = bytearray()
        self.parts: list[Piece] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._buffer += data
        while len(self._buffer) >= self._part_bytes:
            self._cut(self._part_bytes)
        return len(data)

    def finish(self) -> None:
        """Write what is left."""
        if self._buffer:
            self._cut(len(self._buffer))

    def _cut(self, count: int) -> None:
        content = bytes(self._buffer[:count])
        del self._buffer[:count]
        name = f"part-{len(self.parts) + 1:02d}"
        write_whole(self._folder / name, content)
        self.parts.append(Piece(name, count, hashlib.sha256(content).hexdigest()))


def pack(
    source: Path,
    out: Path,
    *,
    part_bytes: int,
    created: str,
    commit: str,
    runtime: str,
    left_out: Sequence[Absent] = (),
    quick: bool = False,
) -> Manifest:
    """Pack all files below `source` into parts in the existing folder `out`, in place of those there.

    Args:
        source: the folder.
        out: where.
        part_bytes: of every part but the last.
        created, commit, runtime, left_out: for the manifest.
        quick: compress little.

    Raises:
        InputError: parts would not be small enough to travel.
    """
    if not 0 < part_bytes < PART_LIMIT_BYTES:
        raise InputError.mismatch(
            expected=f"parts of 1 to {PART_LIMIT_BYTES - 1} bytes",
            got=str(part_bytes),
            fix="lower --part-mib",
        )
    for old in (*out.glob("part-*"), *out.glob(MANIFEST)):
        old.unlink()
    cutter, files = _Cutter(out, part_bytes), list[Piece]()
    with tarfile.open(fileobj=cutter, mode="w|") as archive:
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            content, name = path.read_bytes(), path.relative_to(source).as_posix()
            preset = _QUICK if quick or path.suffix in _DENSE else _THOROUGH
            packed = lzma.compress(content, preset=preset)
            about = tarfile.TarInfo(name)
            about.size = len(packed)
            archive.addfile(about, io.BytesIO(packed))
            files.append(Piece(name, len(content), hashlib.sha256(content).hexdigest()))
    cutter.finish()
    manifest = Manifest(
        created=created,
        commit=commit,
        runtime=runtime,
        parts=tuple(cutter.parts),
        files=tuple(files),
        left_out=tuple(left_out),
    )
    text = json.dumps({"format": FORMAT} | asdict(manifest), indent=1, ensure_ascii=False) + "\n"
    write_whole(out / MANIFEST, text.encode())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest beside parts.

    Raises:
        InputError: there is none, or none of this format.
    """
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format") != FORMAT:
            raise ValueError("another format")
        lists = {"parts": Piece, "files": Piece, "left_out": Absent}
        return Manifest(**raw | {key: tuple(kind(**row) for row in raw[key]) for key, kind in lists.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError.mismatch(
            expected=f"the manifest of format {FORMAT} beside parts at {path}",
            got=f"{type(error).__name__}: {error}",
            fix="bring manifest.json along with the parts, or make them anew with benchmarks.gpu.prepare",
        ) from error


def check_part(folder: Path, part: Piece) -> bytes:
    """The content of a part.

    Raises:
        InputError: it is missing or not what the manifest says.
    """
    path = folder / part.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError.mismatch(
            expected=f"{part.name} in {folder}", got=error.strerror or "none", fix="send this part once more"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if (len(content), found) != (part.size_bytes, part.sha256):
        raise InputError.mismatch(
            expected=f"{part.name} of {part.size_bytes} bytes with SHA-256 {part.sha256[:16]}…",
            got=f"{len(content)} bytes with {found[:16]}…",
            fix="send this part once more",
        )
    return content


def unpack(folder: Path, target: Path) -> Manifest:
    """Join the parts in `folder` and unpack all their files below the existing folder `target`.

    Raises:
        InputError: a part is missing or damaged (named), or a file is not what the manifest says.
    """
    manifest = read_manifest(folder)
    wanted = {piece.name: piece for piece in manifest.files}
    stream = io.BufferedReader(_Joined(check_part(folder, part) for part in manifest.parts))
    pending = list[Future[str]]()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                packed = archive.extractfile(member)
                if member.name not in wanted or packed is None:
                    raise _damaged(member.name, "a file that the manifest does not list")
                pending.append(pool.submit(_write, target, wanted[member.name], packed.read()))
        done = {future.result() for future in pending}
    for missing in wanted.keys() - done:
        raise _damaged(missing, "no such file in the parts")
    return manifest


def _write(target: Path, piece: Piece, packed: bytes) -> str:
    path = target / piece.name
    if not path.resolve().is_relative_to(target.resolve()):
        raise _damaged(piece.name, "a path out of the folder")
    try:
        content = lzma.decompress(packed)
    except lzma.LZMAError as error:
        raise _damaged(piece.name, str(error)) from error
    if hashlib.sha256(content).hexdigest() != piece.sha256:
        raise _damaged(piece.name, "another digest")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return piece.name


def _damaged(name: str, got: str) -> InputError:
    return InputError.mismatch(
        expected=f"{name} as the manifest describes it",
        got=got,
        fix="make the parts anew and send them again",
    )


class _Joined(io.RawIOBase):
    """Reads parts one after the other as one stream."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._current = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._current:
            content = next(self._parts, None)
            if content is None:
                return 0
            self._current = memoryview(content)
        count = min(len(buffer), len(self._current))
        buffer[:count] = self._current[:count]
        self._current = self._current[count:]
        return count
