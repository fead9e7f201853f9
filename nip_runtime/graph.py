"""Reads a GraphProto: values, weights and operator counts, never the weights themselves.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

from nip_runtime import wire
from nip_runtime.wire import Buffer, Field, WireError, WireType

_MAX_SUBGRAPH_DEPTH: Final = 16
_EXTERNAL: Final = 1
_DTYPES: Final = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    16: "bfloat16",
}  # fmt: skip
# Fields of a TensorProto that hold values: what they take up in the file is the size of the weight.
_TENSOR_DATA_FIELDS: Final = frozenset({4, 5, 6, 7, 9, 10, 11})


@dataclass(frozen=True)
class TensorInfo:
    """A graph input or output.

    ``shape`` holds an int per fixed dimension, a name per symbolic one and None per unknown one; it is None
    where the file states no shape at all (or the value is no tensor). ``dtype`` is spelled as numpy does.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class InitializerInfo:
    """A stored weight. ``size_bytes`` is its payload in this file: 0 where ``external``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    external: bool

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def inside(buffer: Buffer, field: Field) -> list[Field]:
    """Fields of the message that ``field`` holds."""
    if field.wire_type is not WireType.BYTES:
        raise WireError(f"field {field.number} holds no message")
    return list(wire.fields(buffer, field.start, field.stop))


class Graph:
    """Collects the fields of a GraphProto."""

    def __init__(self) -> None:
        self.inputs: list[TensorInfo] = []
        self.outputs: list[TensorInfo] = []
        self.initializers: list[InitializerInfo] = []
        self.operators: Counter[str] = Counter()

    def take(self, buffer: Buffer, field: Field) -> None:
        """Note what ``field`` says."""
        match field.number:
            case 1:
                _count_node(buffer, field, self.operators, depth=0)
            case 5:
                self.initializers.append(_initializer(buffer, field))
            case 11:
                self.inputs.append(_value_info(buffer, field))
            case 12:
                self.outputs.append(_value_info(buffer, field))


def _count_node(buffer: Buffer, node: Field, counts: Counter[str], *, depth: int) -> None:
    if depth > _MAX_SUBGRAPH_DEPTH:
        raise WireError(f"subgraphs nested more than {_MAX_SUBGRAPH_DEPTH} deep")
    operator = domain = ""
    for part in inside(buffer, node):
        match part.number:
            case 4:
                operator = wire.text(buffer, part)
            case 7:
                domain = wire.text(buffer, part)
            case 5:
                for attribute in inside(buffer, part):
                    if attribute.number in (6, 11):  # one graph, or a list of them
                        for inner in inside(buffer, attribute):
                            if inner.number == 1:
                                _count_node(buffer, inner, counts, depth=depth + 1)
    counts[f"{domain}.{operator}" if domain not in ("", "ai.onnx") else operator] += 1


def _initializer(buffer: Buffer, field: Field) -> InitializerInfo:
    shape: list[int] = []
    name, dtype, size_bytes, location = "", 0, 0, 0
    for part in inside(buffer, field):
        if part.number == 1:
            shape.extend(wire.integers(buffer, part))
        elif part.number == 2:
            dtype = part.value
        elif part.number == 8:
            name = wire.text(buffer, part)
        elif part.number == 14:
            location = part.value
        elif part.number in _TENSOR_DATA_FIELDS:
            size_bytes += part.stop - part.start
    return InitializerInfo(name, _dtype(dtype), tuple(shape), size_bytes, location == _EXTERNAL)


def _value_info(buffer: Buffer, field: Field) -> TensorInfo:
    name, dtype = "", "unknown"
    shape: tuple[int | str | None, ...] | None = None
    for part in inside(buffer, field):
        if part.number == 1:
            name = wire.text(buffer, part)
        elif part.number == 2:
            for kind in inside(buffer, part):
                if kind.number != 1:  # a sequence, map or optional: named, not described
                    continue
                for detail in inside(buffer, kind):
                    if detail.number == 1:
                        dtype = _dtype(detail.value)
                    elif detail.number == 2:
                        shape = tuple(_dimension(buffer, d) for d in inside(buffer, detail) if d.number == 1)
    return TensorInfo(name, dtype, shape)


def _dimension(buffer: Buffer, field: Field) -> int | str | None:
    for part in inside(buffer, field):
        if part.number == 1:
            return wire.signed(part.value)
        if part.number == 2:
            return wire.text(buffer, part)
    return None


def _dtype(code: int) -> str:
    return _DTYPES.get(code, f"type {code}")
