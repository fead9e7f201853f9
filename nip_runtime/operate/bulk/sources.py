"""Finds the input files and counts their rows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError
from nip_runtime.inputs.images import ARRAY_SUFFIXES, IMAGE_SUFFIXES, array_shape
from nip_runtime.inputs.images.find import closed_place, visible_files
from nip_runtime.operate.bulk.arrow import arrow_errors, open_parquet
from nip_runtime.operate.bulk.columns import find_column
from nip_runtime.operate.bulk.plan import Kind, Source

PARQUET_SUFFIXES: Final = frozenset({".parquet", ".pq"})


def find_sources(
    inputs: Iterable[str],
    *,
    suffixes: frozenset[str] = ARRAY_SUFFIXES | IMAGE_SUFFIXES,
    column: str,
    out: Path,
) -> tuple[Source, ...]:
    """List the input files in a fixed order: as named, and sorted by path within a folder.

    A file that can't be read is listed as one row with its problem.

    Args:
        inputs: folders, searched recursively without following links to folders, and files.
        suffixes: of files, beside Parquet files, that a folder is searched for.
        column: of Parquet files; "" for the default.
        out: the output folder, which may not be searched.

    Raises:
        InputError: if an input does not exist, a folder can't be searched or holds nothing to predict, a file
            is named twice, or a Parquet file lacks the column.
        DependencyError: if there is a Parquet file and pyarrow is missing.
    """
    paths: dict[Path, None] = {}
    for path in _listed(inputs, suffixes | PARQUET_SUFFIXES, out):
        if path in paths:
            raise InputError.mismatch(
                expected="every input once", got=f"{path} twice", fix="name no file beside its folder"
            )
        paths[path] = None
    sources = tuple(_look_at(path, column) for path in paths)
    if not any(source.rows for source in sources):
        raise InputError.mismatch(
            expected="rows to predict", got=f"none in {len(sources)} files", fix="name other files"
        )
    return sources


def changed(source: Source) -> str:
    """Why a file is no longer what was planned; "" if it is."""
    try:
        status = Path(source.path).stat()
    except OSError as error:
        got = error.strerror or "an error"
    else:
        if (status.st_size, status.st_mtime_ns) == (source.size_bytes, source.mtime_ns):
            return ""
        got = "another size or time of change"
    return f"expected {source.path} as it was planned, got {got}; start anew with another --out"


def _listed(inputs: Iterable[str], suffixes: frozenset[str], out: Path) -> Iterator[Path]:
    for path in (Path(path).absolute() for path in inputs):
        try:
            is_folder, exists = path.is_dir(), os.path.lexists(path)
        except OSError as error:  # a name too long, a folder on the way that can't be entered
            raise closed_place(path, error) from error
        if is_folder:
            yield from _inside(path, suffixes, out)
        elif exists:
            yield path
        else:
            raise InputError.mismatch(
                expected=f"a file or folder at {path}", got="nothing there", fix="check the path"
            )


def _inside(folder: Path, suffixes: frozenset[str], out: Path) -> list[Path]:
    # Not Path.resolve: it raises RuntimeError for a link to itself.
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        raise InputError.mismatch(
            expected=f"an output folder outside of the input folder {folder}",
            got=str(out),
            fix="name another one with --out",
        )

    def refuse(error: OSError) -> None:  # os.walk would leave such a folder out without a word
        raise InputError.mismatch(
            expected=f"to read the folder {error.filename}",
            got=error.strerror or "an error",
            fix="check its permissions",
        ) from error

    found = list(visible_files(folder, suffixes, onerror=refuse))
    if not found:
        kind = "images" if suffixes >= IMAGE_SUFFIXES else "recordings"
        raise InputError.mismatch(
            expected=f"{kind}, .npy, .npz or .parquet files in folder {folder}",
            got="none",
            fix="name another folder",
        )
    return sorted(found, key=str)


def _look_at(path: Path, column: str) -> Source:
    suffix, name = path.suffix.lower(), str(path)
    kind = (
        Kind.PARQUET if suffix in PARQUET_SUFFIXES else Kind.ARRAY if suffix in ARRAY_SUFFIXES else Kind.IMAGE
    )
    try:
        status = path.stat()
    except OSError as error:
        return Source(name, kind, 1, -1, -1, f"expected a readable file at {path}, got {error.strerror}")
    size, mtime = status.st_size, status.st_mtime_ns
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
        return Source(name, kind, 1, size, mtime, f"expected a file at {path}, got something else")
    try:
        return Source(name, kind, _count(path, kind, column), size, mtime)
    except _UnreadableError as error:
        return Source(name, kind, 1, size, mtime, str(error))


class _UnreadableError(Exception):
    """The file is damaged, and its message says how."""


def _count(path: Path, kind: Kind, column: str) -> int:
    if kind is Kind.IMAGE:
        return 1
    if kind is Kind.ARRAY:
        return _count_array(path)
    try:
        with open_parquet(str(path)) as file:
            schema, metadata = file.schema_arrow, file.metadata
            rows: int = sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    except arrow_errors() as error:
        raise _UnreadableError(f"expected a Parquet file at {path}, got {_one_line(error)}") from error
    if rows != metadata.num_rows:
        raise _UnreadableError(
            f"expected a Parquet file at {path}, got one of {metadata.num_rows} rows whose groups have {rows}"
        )
    if rows:
        find_column(schema, column, origin=str(path))
    return rows


def _count_array(path: Path) -> int:
    try:
        shape = array_shape(path)
    except InputError as error:
        raise _UnreadableError(str(error)) from error
    if not shape:
        raise _UnreadableError(f"expected rows at {path}, got a single number")
    if 0 in shape[1:]:  # a header may state any number of those
        raise _UnreadableError(f"expected rows with values at {path}, got shape {shape}")
    return shape[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
