"""Reads a GraphProto: values, nodes, and where the weights are; never the weights themselves.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Final

from nip_runtime.file.allowed import DTYPES
from nip_runtime.file.container import messages, wire
from nip_runtime.file.container.infos import Attribute, InitializerInfo, NodeInfo, Places, TensorInfo
from nip_runtime.file.container.reader import LimitError, Reader, printable
from nip_runtime.file.container.wire import Buffer, Field, WireError, WireType

_DTYPES: Final = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    16: "bfloat16",
}  # fmt: skip
_RAW: Final = 9
# Fields of a TensorProto that hold values: what they take up in the file is the size of the weight.
_TENSOR_DATA_FIELDS: Final = frozenset({4, 5, 6, 7, 9, 10, 11})
_TYPED_DATA: Final = {
    "float32": 4, "int32": 5, "uint8": 5, "int8": 5, "uint16": 5, "int16": 5, "bool": 5, "float16": 5,
    "int64": 7, "float64": 10, "uint32": 11, "uint64": 11,
}  # fmt: skip
_CONTINUED: Final = bytes(range(0x80, 0x100))
"""Bytes of a base-128 number that another byte follows."""

_SHORT: Final = 64
"""Bytes of an attribute that is worth remembering: a number or a few, no tensor to speak of."""

# What a field of an AttributeProto holds, as 1 << the type that the attribute then states.
_ATTRIBUTE_KINDS: Final = {
    number: 1 << kind
    for number, kind in ((2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (8, 7), (9, 8), (11, 10))
}


def inside(buffer: Buffer, field: Field) -> list[Field]:
    """Fields of the message that ``field`` holds."""
    if field.wire_type is not WireType.BYTES:
        raise WireError(f"field {field.number} holds no message")
    return list(wire.fields(buffer, field.start, field.stop))


class Graph:
    """Reads the graph that ``field`` of a ModelProto holds."""

    def __init__(self, reader: Reader, field: Field) -> None:
        self.inputs: list[TensorInfo] = []
        self.outputs: list[TensorInfo] = []
        self.initializers: list[InitializerInfo] = []
        self.tensors: list[InitializerInfo] = []
        """Those in attributes."""
        self.nodes: list[NodeInfo] = []
        self.operators: Counter[str] = Counter()
        self._reader = reader
        # Few kinds of values and attributes stand in a graph again and again: each is read once.
        self._types: dict[bytes, tuple[str, tuple[int | str | None, ...] | None]] = {}
        self._attributes: dict[bytes, tuple[str, Attribute]] = {}
        nodes, initializers = list[Field](), dict[str, Field]()
        values, outputs = dict[str, Field](), dict[str, Field]()
        for part in reader.inside(field, messages.GRAPH):
            match part.number:
                case 1:
                    self._node(part, depth=0)
                    reader.limit("nodes", len(self.nodes), reader.limits.nodes)
                    nodes.append(part)
                case 5:
                    tensor = self._tensor(part)
                    self.initializers.append(tensor)
                    reader.limit("initializers", len(self.initializers), reader.limits.initializers)
                    initializers[tensor.name] = part
                case 11:
                    self.inputs.append(self._value(part))
                    values[self.inputs[-1].name] = part
                case 12:
                    self.outputs.append(self._value(part))
                    outputs[self.outputs[-1].name] = part
                case 13:
                    values[self._value(part).name] = part
        for name, part in outputs.items():
            values.setdefault(name, part)
        self.places = Places(nodes, initializers, values)

    def _node(self, field: Field, *, depth: int) -> None:
        reader = self._reader
        if depth > reader.limits.subgraph_depth:
            raise LimitError(f"subgraphs nested at most {reader.limits.subgraph_depth} deep", "more")
        operator = domain = ""
        inputs, outputs = list[str](), list[str]()
        attributes = dict[str, Attribute]()
        for part in reader.inside(field, messages.NODE):
            match part.number:
                case 1:
                    inputs.append(reader.name(part))
                case 2:
                    outputs.append(reader.name(part))
                case 3 | 6:
                    continue
                case 4:
                    operator = reader.name(part)
                case 7:
                    domain = reader.name(part)
                case 5:
                    name, value = self._known_attribute(part, depth=depth)
                    if name in attributes:
                        reader.note(f"two attributes {printable(name)} of one {printable(operator)}")
                    attributes[name] = value
        reader.limit("inputs of a node", len(inputs), reader.limits.node_values)
        reader.limit("outputs of a node", len(outputs), reader.limits.node_values)
        reader.limit("attributes of a node", len(attributes), reader.limits.attributes)
        full = f"{domain}.{operator}" if domain not in ("", "ai.onnx") else operator
        self.operators[full] += 1
        if depth == 0:
            self.nodes.append(NodeInfo(full, tuple(inputs), tuple(outputs), attributes))

    def _known_attribute(self, field: Field, *, depth: int) -> tuple[str, Attribute]:
        if field.stop - field.start > _SHORT:
            return self._attribute(field, depth=depth)
        content = self._reader.buffer[field.start : field.stop]
        known = self._attributes.get(content)
        if known is None:
            known = self._attribute(field, depth=depth)
            if known[1] is not None:  # not a tensor or subgraph, which count where they stand
                self._attributes[content] = known
        return known

    def _attribute(self, field: Field, *, depth: int) -> tuple[str, Attribute]:
        reader = self._reader
        name, numbers = "", list[int]()
        found: Attribute = None
        count, stated, kinds = 0, 0, 0
        for part in reader.inside(field, messages.ATTRIBUTE):
            number = part.number
            kinds |= _ATTRIBUTE_KINDS.get(number, 0)
            if number == 1:
                name = reader.name(part)
            elif number == 3:
                found = wire.signed(part.value)
            elif number == 8:
                numbers += wire.integers(reader.buffer, part, reader.limits.attribute_numbers)
            elif number == 2:
                (found,) = struct.unpack("<f", reader.buffer[part.start : part.stop])
            elif number == 4:
                found = reader.name(part).encode()
            elif number == 5:
                self.tensors.append(self._tensor(part))
            elif number in (7, 9):
                count += max(1, (part.stop - part.start) // 4) if number == 7 else 1
            elif number in (6, 11):
                self._subgraph(part, depth=depth)
            elif number == 20:
                stated = part.value
        if stated > 15 or kinds & ~(1 << stated):  # an empty list stands for itself
            reader.note(f"an attribute {printable(name)} whose type and value differ")
        reader.limit("numbers in an attribute", len(numbers) + count, reader.limits.attribute_numbers)
        return name, tuple(numbers) if numbers else found

    def _subgraph(self, field: Field, *, depth: int) -> None:
        for part in self._reader.inside(field, messages.GRAPH):
            if part.number == 1:
                self._node(part, depth=depth + 1)

    def _tensor(self, field: Field) -> InitializerInfo:
        reader = self._reader
        shape: list[int] = []
        name, dtype, size_bytes, external = "", 0, 0, False
        raw: tuple[int, int] | None = None
        data: list[Field] = []
        for part in reader.inside(field, messages.TENSOR):
            number = part.number
            if number == 1:
                shape += wire.integers(reader.buffer, part, reader.limits.rank)
            elif number == 2:
                dtype = part.value
            elif number == 8:
                name = reader.name(part)
            elif number == _RAW:
                raw = (part.start, part.stop)
            elif number == 14:
                external = external or part.value != 0
            elif number == 13:
                external = True
            elif number in _TENSOR_DATA_FIELDS:
                data.append(part)
        reader.limit("dimensions of a tensor", len(shape), reader.limits.rank)
        size_bytes = sum(part.stop - part.start for part in data) + (raw[1] - raw[0] if raw else 0)
        kind = _dtype(dtype)
        stored = _stored(reader.buffer, kind, raw, data)
        return InitializerInfo(name, kind, tuple(shape), size_bytes, external, raw, stored)

    def _value(self, field: Field) -> TensorInfo:
        reader = self._reader
        name, dtype = "", "unknown"
        shape: tuple[int | str | None, ...] | None = None
        for part in reader.inside(field, messages.VALUE):
            if part.number == 1:
                name = reader.name(part)
            elif part.number == 2:
                content = reader.buffer[part.start : part.stop]
                known = self._types.get(content)
                if known is None:
                    known = self._types[content] = self._type(part)
                dtype, shape = known
        return TensorInfo(name, dtype, shape)

    def _type(self, field: Field) -> tuple[str, tuple[int | str | None, ...] | None]:
        reader = self._reader
        dtype = "unknown"
        shape: tuple[int | str | None, ...] | None = None
        for kind in reader.inside(field, messages.TYPE):
            if kind.number != 1:  # a sequence, map or optional: named, not described
                continue
            for detail in reader.inside(kind, messages.TENSOR_TYPE):
                if detail.number == 1:
                    dtype = _dtype(detail.value)
                else:
                    shape = self._shape(detail)
        return dtype, shape

    def _shape(self, field: Field) -> tuple[int | str | None, ...]:
        reader = self._reader
        shape: list[int | str | None] = []
        for dimension in reader.inside(field, messages.SHAPE):
            size: int | str | None = None
            for part in reader.inside(dimension, messages.DIMENSION):
                if part.number == 3:
                    continue
                if size is not None:
                    reader.note("a dimension of two sizes")
                size = wire.signed(part.value) if part.number == 1 else reader.name(part)
            shape.append(size)
        reader.limit("dimensions of a value", len(shape), reader.limits.rank)
        return tuple(shape)


def _stored(buffer: Buffer, dtype: str, raw: tuple[int, int] | None, data: list[Field]) -> float | None:
    """Number of values in a tensor's payload, whole unless the payload is cut."""
    if raw is not None:
        return None if data or dtype not in DTYPES else (raw[1] - raw[0]) / DTYPES[dtype]
    if not data:
        return 0
    wanted = _TYPED_DATA.get(dtype)
    if any(part.number != wanted for part in data):
        return None
    count = 0.0
    for part in data:
        if part.wire_type is not WireType.BYTES:
            count += 1
        elif part.number in (4, 10):
            count += (part.stop - part.start) / (4 if part.number == 4 else 8)
        else:  # as many base-128 numbers as bytes that end one
            count += len(buffer[part.start : part.stop].translate(None, _CONTINUED))
    return count


def _dtype(code: int) -> str:
    return _DTYPES.get(code, f"type {code}")
