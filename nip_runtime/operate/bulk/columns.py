"""Parquet columns that hold images, and how one of their values becomes a model's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.inputs.arrays import Images, check_kind
from nip_runtime.inputs.images import decode_image, fit_image, read_one
from nip_runtime.inputs.sound import read_sound
from nip_runtime.operate.bulk.arrow import arrow

DEFAULT_COLUMN: Final = "image"


class Form(StrEnum):
    """What a column's values are."""

    BYTES = "bytes"
    """The bytes of image files."""
    RECORD = "record"
    """struct{bytes, path}, as Hugging Face datasets writes images; the path counts where bytes are null."""
    PATH = "path"
    """Paths of image files, relative to the folder of the Parquet file."""
    NUMBERS = "numbers"
    """Lists: uint8 (H, W, C) or float32 of the model's shape, nested so, or flat, last axis fastest."""


@dataclass(frozen=True)
class Column:
    """A column and its form."""

    name: str
    form: Form


def find_column(schema: Any, wanted: str, *, origin: str) -> Column:
    """Pick the column of images in a pyarrow schema.

    Args:
        schema: of the Parquet file.
        wanted: name; "" for ``image``, or the only column.
        origin: the file, for errors.

    Raises:
        InputError: if it is not there, or holds something else.
    """
    names = list(schema.names)
    name = wanted or (names[0] if len(names) == 1 else DEFAULT_COLUMN)
    if name not in names:
        raise InputError.mismatch(
            expected=f"a column {name!r} in {origin}",
            got=", ".join(names) or "no columns",
            fix="name the one that holds the images with --column",
        )
    if names.count(name) > 1:
        raise InputError.mismatch(
            expected=f"one column {name!r} in {origin}", got=str(names.count(name)), fix="rename the others"
        )
    kind = schema.field(name).type
    form = _form(kind)
    if form is None:
        raise InputError.mismatch(
            expected=f"image bytes, struct{{bytes, path}}, paths, or lists of uint8 or float32"
            f" in column {name!r} of {origin}",
            got=str(kind),
            fix="convert the column, or name another one with --column",
        )
    return Column(name, form)


def to_input(value: Any, form: Form, spec: InputSpec, *, origin: str, folder: Path) -> Images:
    """One value as a batch of one row, fit for the model.

    Args:
        value: pyarrow scalar.
        form: of its column.
        spec: the model's input; image files are resized as it says.
        origin: "FILE[ROW]" for errors.
        folder: that paths start from.

    Raises:
        InputError: if it is null, damaged, or does not fit.
        DependencyError: if it is an image file and OpenCV is missing.
    """
    if not value.is_valid:
        raise _nothing(origin)
    if form is Form.NUMBERS:
        return _numbers(value, spec)
    if form is Form.PATH:
        return read_one(folder / value.as_py(), spec)
    encoded = value if form is Form.BYTES else value["bytes"]
    if encoded.is_valid:
        return _image(np.frombuffer(encoded.as_buffer(), np.uint8), spec, origin)
    path = value["path"].as_py() if "path" in value else None
    if path is None:
        raise _nothing(origin)
    return read_one(folder / path, spec)


def _form(kind: Any) -> Form | None:
    types = arrow().types
    kind = getattr(kind, "storage_type", kind)  # a tensor type of pyarrow's is a list with a shape
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return Form.RECORD if index >= 0 and _form(kind.field(index).type) is Form.BYTES else None
    if types.is_binary(kind) or types.is_large_binary(kind):
        return Form.BYTES
    if types.is_string(kind) or types.is_large_string(kind):
        return Form.PATH
    is_list = _is_list(kind)
    while _is_list(kind):
        kind = kind.value_type
    return Form.NUMBERS if is_list and (types.is_float32(kind) or types.is_uint8(kind)) else None


def _is_list(kind: Any) -> bool:
    types = arrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _nothing(origin: str) -> InputError:
    return InputError.mismatch(
        expected=f"an image at {origin}", got="null", fix="fill it, or leave the row out"
    )


def _image(encoded: NDArray[np.uint8], spec: InputSpec, origin: str) -> Images:
    if spec.sound is not None:
        return check_kind(read_sound(BytesIO(encoded.tobytes()), spec, origin=origin), spec)
    if spec.layout is not Layout.NCHW:
        raise InputError.mismatch(
            expected="lists of float32, for this model takes no images", got="bytes", fix="store numbers"
        )
    return check_kind(
        fit_image(decode_image(encoded, channels=spec.shape[0], origin=origin), spec)[None], spec
    )


def _numbers(value: Any, spec: InputSpec) -> Images:
    flat, nested = unnested(value)
    shape = spec.shape
    if flat.dtype == np.uint8 and spec.layout is Layout.NCHW:
        shape = (*spec.shape[1:], spec.shape[0])
    # The right number of values in another order would be another image. Axes of length 1 change no order.
    if _squeezed(nested) not in (_squeezed(shape), _squeezed((math.prod(shape),))):
        raise InputError.mismatch(
            expected=f"{math.prod(shape)} values, flat or {shape} ({flat.dtype})",
            got=str(len(flat)) if len(nested) == 1 else str(nested),
            fix="bring every row to this shape",
        )
    return check_kind(flat.reshape(1, *shape), spec)  # values are judged by the session, row by row


def unnested(value: Any) -> tuple[NDArray[Any], tuple[int, ...]]:
    """All numbers in a list of lists, and its shape."""
    values = getattr(value, "value", value).values  # an extension scalar holds its list
    nested = [len(values)]
    while _is_list(values.type):
        lengths = set(arrow().compute.list_value_length(values).to_pylist())
        if len(lengths) != 1 or None in lengths:
            raise InputError.mismatch(
                expected="lists of one length", got="lists of several", fix="bring every row to one shape"
            )
        nested.append(lengths.pop())
        values = values.flatten()
    if values.null_count:
        raise InputError.mismatch(expected="numbers only", got=f"{values.null_count} nulls", fix="fill them")
    return values.to_numpy(zero_copy_only=False), _tensor_shape(value.type) or tuple(nested)


def _tensor_shape(kind: Any) -> tuple[int, ...] | None:
    """Of one of pyarrow's tensor types, in the order of its values; None for another type."""
    if getattr(kind, "shape", None) is None:
        return None
    shape, order = tuple(kind.shape), kind.permutation or range(len(kind.shape))
    # Versions read the permutation either way round: taken is what one of them leaves in order.
    inverse = sorted(range(len(shape)), key=list(order).__getitem__)
    moved = ([axis for axis in axes if shape[axis] != 1] for axes in (order, inverse))
    if not any(axes == sorted(axes) for axes in moved):
        raise InputError.mismatch(
            expected="a tensor with its axes in order", got=f"permutation {order}", fix="store it unpermuted"
        )
    return shape


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
