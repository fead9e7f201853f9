"""Images and labels of Parquet files, read batch by batch: encoded images, paths of them, or arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_export.data.fitting import Fit, fitted
from nip_export.data.folder import as_grey, check_sizes, is_grey
from nip_export.data.images import ImageSet
from nip_export.data.stored import store
from nip_export.support.progress import Progress
from nip_runtime.errors import InputError
from nip_runtime.inputs.images import decode_image, read_image
from nip_runtime.operate.bulk.arrow import arrow, arrow_errors, open_parquet
from nip_runtime.operate.bulk.columns import Column, Form, find_column, unnested
from nip_runtime.operate.bulk.sources import PARQUET_SUFFIXES

DEFAULT_LABELS: Final = "label"
ROWS: Final = 64
"""Rows that are in memory at once."""


@dataclass(frozen=True)
class Columns:
    """Which columns of Parquet files are read; "" for the usual names.

    Attributes:
        images: default ``image``, or the only one beside the labels.
        labels: default ``label``.
    """

    images: str = ""
    labels: str = ""


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files that a path names: one, or all that lie in a folder of nothing else."""
    if path.is_file():
        return [path] if path.suffix.lower() in PARQUET_SUFFIXES else []
    found = [each for each in sorted(path.iterdir()) if not each.name.startswith(".")]
    return found if found and all(each.suffix.lower() in PARQUET_SUFFIXES for each in found) else []


def read_parquet(
    files: list[Path],
    columns: Columns,
    *,
    fit: Fit | None,
    channels: int | None,
    bounds: tuple[float, float],
    is_labelled: bool,
    progress: Progress,
) -> ImageSet:
    """See :func:`nip_export.data.read_dataset`."""
    reader = _Reader(columns, fit, 3 if channels is None else channels, is_labelled)
    for file in files:
        reader.look_at(file)
    stage = progress(f"Read {files[0].name}", reader.rows)
    images = store(check_sizes(reader.images(files, stage)))
    if channels is None and reader.is_encoded and reader.is_grey:
        images = as_grey(images)
    labels, names = _numbered(reader.labels, reader.names) if is_labelled else ([0] * len(images), None)
    return ImageSet(images, np.array(labels, np.int64), names, bounds, is_labelled)


@dataclass
class _Reader:
    """Reads one file after another; their labels and what they say of classes are gathered on the way."""

    columns: Columns
    fit: Fit | None
    channels: int
    is_labelled: bool
    rows: int = 0
    names: tuple[str, ...] | None = None
    labels: list[int | str] = field(default_factory=list)
    is_grey: bool = True
    is_encoded: bool = True
    found: dict[Path, Column] = field(default_factory=dict)

    @property
    def label_column(self) -> str:
        return self.columns.labels or DEFAULT_LABELS

    def look_at(self, path: Path) -> None:
        """Find the columns of a file before any of its rows is read."""
        try:
            with open_parquet(str(path)) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except arrow_errors() as error:
            raise InputError.mismatch(
                expected=f"a Parquet file at {path}", got=_one_line(error), fix="write it again"
            ) from error
        if self.is_labelled:
            self._check_labels(schema, path)
        rest = [each for each in schema.names if each != self.label_column]
        wanted = self.columns.images or (rest[0] if len(rest) == 1 else "")
        self.found[path] = find_column(schema, wanted, origin=str(path))
        self.is_encoded = self.found[path].form is not Form.NUMBERS
        self.names = self.names or _told_names(schema, self.label_column)
        self.rows += rows

    def _check_labels(self, schema: Any, path: Path) -> None:
        name = self.label_column
        if schema.names.count(name) != 1:
            raise InputError.mismatch(
                expected=f"a column {name!r} of class numbers or names in {path}",
                got=", ".join(schema.names) or "no columns",
                fix="name it with --label-column, or let the network's own predictions stand in for labels: "
                "--unlabelled",
            )
        kind, types = schema.field(name).type, arrow().types
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
            raise InputError.mismatch(
                expected=f"class numbers or names in column {name!r} of {path}",
                got=str(kind),
                fix="convert the column, or name another one with --label-column",
            )

    def images(self, files: list[Path], stage: Any) -> Iterator[tuple[NDArray[Any], str]]:
        """Every image with the place that it stands at."""
        for path in files:
            column, row = self.found[path], 0
            wanted = [column.name, *([self.label_column] if self.is_labelled else [])]
            try:
                with open_parquet(str(path)) as file:
                    for batch in file.iter_batches(batch_size=ROWS, columns=wanted, use_threads=False):
                        labels = batch.column(self.label_column).to_pylist() if self.is_labelled else None
                        for index, value in enumerate(batch.column(column.name)):
                            where = f"{path}[{row}]"
                            if labels is not None:
                                self.labels.append(_label(labels[index], where))
                            stage(1)
                            yield self._image(value, column.form, path, where), where
                            row += 1
            except arrow_errors() as error:
                raise InputError.mismatch(
                    expected=f"a row at {path}[{row}]", got=_one_line(error), fix="write the file again"
                ) from error

    def _image(self, value: Any, form: Form, path: Path, where: str) -> NDArray[Any]:
        encoded = value["bytes"] if form is Form.RECORD and value.is_valid else value
        if form is Form.NUMBERS and value.is_valid:
            return fitted(_array(value, where), self.fit)
        if form in (Form.BYTES, Form.RECORD) and encoded.is_valid:
            content = np.frombuffer(encoded.as_buffer(), np.uint8)
            image = decode_image(content, channels=self.channels, origin=where)
        else:
            name = value["path"] if form is Form.RECORD and value.is_valid and "path" in value else value
            if form not in (Form.PATH, Form.RECORD) or not name.is_valid:
                raise InputError.mismatch(
                    expected=f"an image at {where}", got="null", fix="leave such rows out"
                )
            image = read_image(path.parent / name.as_py(), channels=self.channels)
        self.is_grey = self.is_grey and is_grey(image)
        return fitted(image, self.fit)


def _array(value: Any, where: str) -> NDArray[Any]:
    flat, shape = unnested(value)
    if len(shape) < 2:
        raise InputError.mismatch(
            expected=f"nested lists or a tensor at {where}: uint8 (H, W) or (H, W, C), or float32 of the "
            "model's shape",
            got=f"{len(flat)} numbers in a row",
            fix="store them with their shape",
        )
    return flat.reshape(shape)


def _label(value: object, where: str) -> int | str:
    if value is None:
        raise InputError.mismatch(expected=f"a label at {where}", got="null", fix="leave such rows out")
    return value if isinstance(value, int | str) else str(value)


def _numbered(
    labels: list[int | str], names: tuple[str, ...] | None
) -> tuple[list[int], tuple[str, ...] | None]:
    """Class numbers and, if they are told, class names; names in sorted order where the labels are names."""
    if not any(isinstance(label, str) for label in labels):
        return [int(label) for label in labels], names
    words = [str(label) for label in labels]
    if all(word.isdecimal() for word in words):
        return [int(word) for word in words], names
    names = tuple(sorted(set(words)))
    place = {name: number for number, name in enumerate(names)}
    return [place[word] for word in words], names


def _told_names(schema: Any, label_column: str) -> tuple[str, ...] | None:
    """Class names that Hugging Face's ``datasets`` writes into a file's metadata."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        names = told["info"]["features"][label_column]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
