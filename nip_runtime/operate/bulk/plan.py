"""The plan: which rows of which file belong to which shard. The same inputs always give the same plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

FORMAT: Final = 1
"""Of the plan and of the parts; a run is never continued with another one."""


class Kind(StrEnum):
    """How a file is read."""

    IMAGE = "image"
    ARRAY = "array"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Source:
    """One input file as it was when the run was planned.

    Attributes:
        path: absolute.
        kind: how it is read.
        rows: in it; 1 for an image, and for a file that could not be read.
        size_bytes, mtime_ns: of the file; -1 if it could not be looked at.
        problem: why it can't be read, "" if nothing is known against it.
    """

    path: str
    kind: Kind
    rows: int
    size_bytes: int
    mtime_ns: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows ``start`` to ``stop`` (exclusive) of one file."""

    source: Source
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Shard:
    """What one part holds."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Rows of its part."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    def __str__(self) -> str:
        first, last = self.pieces[0], self.pieces[-1]
        return (
            f"shard {self.number} ({first.source.path}[{first.start}] to {last.source.path}[{last.stop - 1}])"
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All besides the inputs that the answers depend on.

    Attributes:
        model: SHA-256 digest of the file.
        nip_version: of this package.
        device: as asked for.
        batch: rows per run. On the CPU answers do not depend on it; elsewhere they may, in the last bits.
        shard_rows: rows per shard.
        column: of Parquet files, "" for the default.
        logits: whether they are stored.
    """

    model: str
    nip_version: str
    device: str
    batch: int
    shard_rows: int
    column: str
    logits: bool


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    settings: Settings
    sources: tuple[Source, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts together."""
        return sum(source.rows for source in self.sources)

    @property
    def shard_count(self) -> int:
        """Number of shards; only the last may be short."""
        return -(-self.rows // self.settings.shard_rows)

    def shards(self) -> Iterator[Shard]:
        """Cut the rows of all files, one file after the other, every ``shard_rows``."""
        size = self.settings.shard_rows
        number, pieces, room = 0, [], size
        for source in self.sources:
            start = 0
            while start < source.rows:
                stop = min(source.rows, start + room)
                pieces.append(Piece(source, start, stop))
                room -= stop - start
                start = stop
                if room == 0:
                    yield Shard(number, tuple(pieces))
                    number, pieces, room = number + 1, [], size
        if pieces:
            yield Shard(number, tuple(pieces))

    @cached_property
    def content(self) -> bytes:
        """The plan as JSON; equal plans have equal bytes."""
        names = [field.name for field in fields(Source)]
        rows = [[getattr(source, name) for name in names] for source in self.sources]
        settings = asdict(self.settings)
        head = json.dumps({"format": FORMAT, "settings": settings, "fields": names})
        # One line per file, so that people can read it too.
        lines = ",\n".join(json.dumps(row) for row in rows)
        return f'{head[:-1]}, "sources": [\n{lines}\n]}}\n'.encode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``content``: every part carries it."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def difference(self, stored: bytes) -> tuple[str, str]:
        """What another stored plan says and what this one says instead, in words.

        Raises:
            ValueError: if ``stored`` is no plan.
        """
        try:
            theirs = json.loads(stored)
            if theirs["format"] != FORMAT:
                return f"format {theirs['format']}", f"format {FORMAT}"
            return (
                _settings_difference(theirs["settings"], asdict(self.settings))
                or _source_difference(theirs["sources"], json.loads(self.content)["sources"])
                or ("another plan", "this one")
            )
        except (KeyError, TypeError, IndexError, RecursionError) as error:
            raise ValueError(str(error)) from error


def _settings_difference(theirs: dict[str, Any], ours: dict[str, Any]) -> tuple[str, str] | None:
    for name in ours:
        if theirs[name] != ours[name]:
            shown = name.replace("_", " ")
            return f"{shown} {theirs[name]!r}", f"{shown} {ours[name]!r}"
    return None


def _source_difference(theirs: Sequence[list[Any]], ours: Sequence[list[Any]]) -> tuple[str, str] | None:
    had, have = {row[0]: row for row in theirs}, {row[0]: row for row in ours}
    for path, row in had.items():
        if path not in have:
            return f"{len(had)} files, among them {path}", f"{len(have)} files without it"
        if row != have[path]:
            return (f"{path} {_shown(row)}", f"it {_shown(have[path])}")
    for path in have:
        if path not in had:
            return f"{len(had)} files without {path}", f"{len(have)} with it"
    return ("the files in another order", "in this one") if list(had) != list(have) else None


def _shown(row: list[Any]) -> str:
    _, _, rows, size_bytes, mtime_ns, problem = row
    return f"of {size_bytes} bytes and {rows} rows, changed at {mtime_ns / 1e9:.6f}" + f" ({problem})" * bool(
        problem
    )
