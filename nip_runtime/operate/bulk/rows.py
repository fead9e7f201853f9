"""Reads the rows of a shard; a row that can't be read carries its error instead."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.arrays import Images, check_kind
from nip_runtime.inputs.images import fit_images, map_array, needs_fitting, read_file
from nip_runtime.operate.bulk.arrow import arrow_errors, open_parquet
from nip_runtime.operate.bulk.columns import Form, find_column, to_input
from nip_runtime.operate.bulk.plan import Kind, Piece, Source
from nip_runtime.operate.bulk.row_groups import value_at
from nip_runtime.operate.bulk.sources import changed

_Read = tuple[int, Images | None, str]
"""Index within the file, and the image or the error."""


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One row of an input file.

    Attributes:
        source: absolute path; bytes that are no UTF-8 are written as \\xNN.
        index: within the file, from 0.
        image: (1, …), as the file holds it; None if it can't be read.
        error: why it can't.
    """

    source: str
    index: int
    image: Images | None
    error: str = ""


def read_piece(piece: Piece, spec: InputSpec, *, column: str, block: int) -> Iterator[Row]:
    """Read rows in order, exactly one :class:`Row`, of one image, for each that the piece names.

    Args:
        piece: rows of one file.
        spec: the model's input.
        column: of Parquet files; "" for the default.
        block: rows held at a time.

    Raises:
        DependencyError: if OpenCV is missing and needed.
    """
    source = piece.source
    name = printable(source.path)
    done = piece.start
    try:
        problem = source.problem or changed(source)
        if problem:
            raise InputError(problem)
        rows: Iterator[_Read]
        if source.kind is Kind.IMAGE:
            rows = iter([(0, read_file(Path(source.path), spec), "")])
        elif source.kind is Kind.ARRAY:
            rows = _array_rows(piece, spec)
        else:
            rows = _parquet_rows(piece, spec, column, block)
        for index, image, error in rows:
            yield Row(name, index, image, printable(error))
            done = index + 1
    except InputError as error:
        for index in range(done, piece.stop):
            yield Row(name, index, None, printable(str(error)))


def printable(text: str) -> str:
    """The text as valid UTF-8: file names may be any bytes."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _array_rows(piece: Piece, spec: InputSpec) -> Iterator[_Read]:
    array = _array(piece.source)
    if len(array) != piece.source.rows:
        raise InputError.mismatch(
            expected=f"{piece.source.rows} rows in {piece.source.path}", got=str(len(array)), fix="start anew"
        )
    if needs_fitting(array, spec):
        for index in range(piece.start, piece.stop):
            yield index, fit_images(array[index : index + 1], spec), ""
        return
    images = check_kind(array, spec)
    for index in range(piece.start, piece.stop):
        yield index, np.array(images[index : index + 1]), ""  # a copy: the file may be a mapped one


_here = threading.local()
"""A Dask worker may run several shards at once."""


def _array(source: Source) -> NDArray[Any]:
    """The array of a file; the last one is kept, for an ``.npz`` is read as a whole and has many shards."""
    kept: tuple[Source, NDArray[Any]] | None = getattr(_here, "array", None)
    if kept is None or kept[0] != source:
        _here.array = kept = None  # before the next one is read: two may not fit
        kept = _here.array = source, map_array(Path(source.path))
    return kept[1]


def _parquet_rows(piece: Piece, spec: InputSpec, column: str, block: int) -> Iterator[_Read]:
    path = piece.source.path
    try:
        with open_parquet(path) as file:
            chosen = find_column(file.schema_arrow, column, origin=path)
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except arrow_errors() as error:
        raise InputError(f"expected a Parquet file at {path}, got {_one_line(error)}") from error
    first = 0
    for group, rows in enumerate(groups):
        index, stop = max(first, piece.start), min(first + rows, piece.stop)
        try:
            while index < stop:
                value = value_at(piece.source, group, chosen.name, index - first, block)
                yield index, *_image(value, chosen.form, spec, f"{path}[{index}]")
                index += 1
        except arrow_errors() as error:  # a damaged group costs its own rows only
            for lost in range(index, stop):
                yield lost, None, f"expected a row at {path}[{lost}], got {_one_line(error)}"
        first += rows


def _image(value: Any, form: Form, spec: InputSpec, origin: str) -> tuple[Images | None, str]:
    try:
        return to_input(value, form, spec, origin=origin, folder=Path(origin).parent), ""
    except InputError as error:
        return None, str(error)
    except arrow_errors() as error:  # a string that is no text
        return None, f"expected an image at {origin}, got {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
