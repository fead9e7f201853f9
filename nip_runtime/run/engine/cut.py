"""Cuts a smaller model out of a serialised one, without the ``onnx`` package.

Nodes and weights are copied byte for byte, so a part computes with the very weights of the file it came from.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import LIMITS
from nip_runtime.file.container import Container, wire
from nip_runtime.file.container.encoder import encode_tensor
from nip_runtime.file.container.graph import Graph, inside
from nip_runtime.file.container.infos import NodeInfo, Places
from nip_runtime.file.container.reader import Reader
from nip_runtime.file.container.wire import Buffer, Field, WireError

# Fields of a ModelProto that a part keeps: versions, producer and operator sets. Not the metadata: a part
# carries no manifest, for it is no defended file.
_KEPT_MODEL_FIELDS: Final = frozenset({1, 2, 3, 8})
_GRAPH: Final = 7
_NODE: Final = 1
_GRAPH_NAME: Final = 2
_INITIALIZER: Final = 5
_GRAPH_INPUT: Final = 11
_GRAPH_OUTPUT: Final = 12
_VALUE_INFO: Final = 13


@dataclass(frozen=True)
class NodeIo:
    """An operator, where it stands, and the names of what it reads and computes."""

    place: Field
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Index:
    """Where everything stands in a serialised model."""

    model: list[Field]
    nodes: list[NodeIo]
    initializers: Mapping[str, Field]
    values: Mapping[str, Field]


class Sliceable:
    """A serialised model with an index of its graph, made when it is first cut.

    Args:
        buffer: a ModelProto.
        container: what was read from it, if it was: then it need not be walked again.

    Raises:
        ArtifactError: where the model is cut, if the bytes are not one.
    """

    def __init__(self, buffer: Buffer, container: Container | None = None) -> None:
        self.buffer = buffer
        self._container = container

    @cached_property
    def _index(self) -> _Index:
        try:
            return _index(self.buffer, self._container)
        except WireError as error:
            raise ArtifactError.mismatch(
                expected="a whole ONNX model", got=str(error), fix="get the original file"
            ) from error

    @cached_property
    def computed(self) -> frozenset[str]:
        """Names of all values that some node computes."""
        return frozenset(name for node in self._index.nodes for name in node.outputs)

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The smallest model that computes ``outputs`` from ``inputs``.

        Args:
            inputs: names of graph inputs or of values inside the graph whose type the file states.
            outputs: names of values that nodes compute, in the order wanted.

        Returns:
            A serialised ModelProto with the same operator sets and no metadata.

        Raises:
            ArtifactError: if the graph has no such value, or the outputs need a graph input that is not among
                ``inputs``.
        """
        missing = [name for name in inputs if name not in self._index.values]
        missing += [name for name in outputs if name not in self.computed]
        if missing:
            raise _cannot_cut(f"values named {', '.join(missing)}", "none")
        nodes, needed = self._behind(inputs, outputs)
        computed = {name for node in nodes for name in node.outputs}
        loose = needed - computed - self._index.initializers.keys() - set(inputs) - {""}
        if loose:
            raise _cannot_cut(f"outputs that follow from {', '.join(inputs)}", f"a need of {min(loose)}")
        chunks = _Chunks(self.buffer)
        for node in nodes:
            chunks.copy(_NODE, node.place)
        chunks.add(wire.encode_bytes(_GRAPH_NAME, "part"))
        for name, place in self._index.initializers.items():
            if name in needed and name not in inputs:
                chunks.copy(_INITIALIZER, place)
        for name in inputs:
            chunks.copy(_GRAPH_INPUT, self._index.values[name])
        for name in outputs:
            self._output(chunks, name)
        inner = computed.difference(inputs, outputs)
        for name, place in self._index.values.items():
            if name in inner:
                chunks.copy(_VALUE_INFO, place)
        return self._model_of(chunks)

    def needed(self, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[str, ...]:
        """Those of ``inputs`` that ``outputs`` depend on, in the same order."""
        _, needed = self._behind(inputs, outputs)
        return tuple(name for name in inputs if name in needed)

    def between(self, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[NodeIo, ...]:
        """The operators that compute ``outputs`` from ``inputs``, in the order of the file."""
        return tuple(self._behind(inputs, outputs)[0])

    def stated_shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """The shape that the file states for a value: numbers, symbols, None where a length is unknown.

        None where it states none.
        """
        stored = self._index.initializers.get(name)
        if stored is not None:
            parts = [part for part in inside(self.buffer, stored) if part.number == 1]
            return tuple(size for part in parts for size in wire.integers(self.buffer, part, LIMITS.rank))
        place = self._index.values.get(name)
        for number in (2, 1, 2):  # its type, that of a tensor, its shape
            inner = [part for part in inside(self.buffer, place) if part.number == number] if place else []
            place = inner[-1] if inner else None
        if place is None:
            return None
        return tuple(self._length(part) for part in inside(self.buffer, place) if part.number == 1)

    def stores_float32(self, name: str) -> bool:
        """Whether a value is a stored weight of this type."""
        stored = self._index.initializers.get(name)
        parts = () if stored is None else inside(self.buffer, stored)
        return any(part.number == 2 and part.value == 1 for part in parts)

    def _length(self, place: Field) -> int | str | None:
        for part in inside(self.buffer, place):
            if part.number == 1:
                return part.value
            if part.number == 2:
                return wire.text(self.buffer, part)
        return None

    def _behind(self, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[list[NodeIo], set[str]]:
        """The nodes that compute ``outputs`` from ``inputs``, in file order, and all values they touch."""
        given = set(inputs)
        needed, nodes = set(outputs), list[NodeIo]()
        for node in reversed(self._index.nodes):
            if any(name in needed and name not in given for name in node.outputs):
                nodes.append(node)
                needed.update(node.inputs)
        return nodes[::-1], needed

    def with_constant(self, name: str, values: NDArray[Any]) -> bytes:
        """The whole model with the values of one initializer replaced.

        Args:
            name: of the initializer.
            values: float32, int64 or bool; dtype and shape become the initializer's.

        Raises:
            ArtifactError: if the graph has no initializer of that name.
        """
        place = self._index.initializers.get(name)
        if place is None:
            raise _cannot_cut(f"an initializer named {name}", "none")
        graph = next(part for part in self._index.model if part.number == _GRAPH)
        chunks = _Chunks(self.buffer)
        for part in inside(self.buffer, graph):
            if part == place:
                chunks.add(wire.encode_bytes(_INITIALIZER, encode_tensor(name, values)))
            else:
                chunks.copy(part.number, part)
        return self._model_of(chunks)

    def constant(self, name: str) -> bytes:
        """The serialised TensorProto of an initializer.

        Raises:
            ArtifactError: if the graph has none of that name.
        """
        place = self._index.initializers.get(name)
        if place is None:
            raise _cannot_cut(f"an initializer named {name}", "none")
        return self.buffer[place.start : place.stop]

    def _output(self, chunks: _Chunks, name: str) -> None:
        place = self._index.values.get(name)
        if place is None:  # onnxruntime infers what the file does not state
            chunks.add(wire.encode_bytes(_GRAPH_OUTPUT, wire.encode_bytes(1, name)))
        else:
            chunks.copy(_GRAPH_OUTPUT, place)

    def _model_of(self, graph: _Chunks) -> bytes:
        model = _Chunks(self.buffer)
        for part in self._index.model:
            if part.number not in _KEPT_MODEL_FIELDS:
                continue
            if part.wire_type is wire.WireType.VARINT:
                model.add(wire.encode_int(part.number, part.value))
            else:
                model.copy(part.number, part)
        return model.joined_with(_GRAPH, graph)


class _Chunks:
    """Pieces of a message in order; what comes out of a file is copied once, when all is joined."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = memoryview(buffer)
        self._chunks: list[bytes | memoryview] = []
        self._size = 0

    def add(self, content: bytes | memoryview) -> None:
        """Append finished fields."""
        self._chunks.append(content)
        self._size += len(content)

    def copy(self, number: int, place: Field) -> None:
        """Append a field that holds what stands at ``place`` in the file."""
        self.add(wire.encode_start(number, place.stop - place.start))
        self.add(self._buffer[place.start : place.stop])

    def joined_with(self, number: int, inner: _Chunks) -> bytes:
        """The message, with another as its last field."""
        return b"".join((*self._chunks, wire.encode_start(number, inner._size), *inner._chunks))


def _index(buffer: Buffer, container: Container | None) -> _Index:
    model = list(wire.fields(buffer, 0, len(buffer)))
    if container is not None:
        return _indexed(model, container.nodes, container.places)
    place = next((part for part in model if part.number == _GRAPH), None)
    if place is None:
        return _Index(model, [], {}, {})
    graph = Graph(Reader(buffer), place)
    return _indexed(model, graph.nodes, graph.places)


def _indexed(model: list[Field], nodes: Iterable[NodeInfo], places: Places) -> _Index:
    standing = zip(places.nodes, nodes, strict=True)
    ios = [NodeIo(place, node.operator, node.inputs, node.outputs) for place, node in standing]
    return _Index(model, ios, places.initializers, places.values)


def _cannot_cut(expected: str, got: str) -> ArtifactError:
    return ArtifactError.mismatch(
        expected=expected, got=got, fix="export the model again with this version, or use engine fused"
    )


def read_numbers(tensor: bytes, dtype: type[np.generic]) -> NDArray[Any]:
    """Values of a serialised TensorProto that stores raw little-endian data, flat.

    Raises:
        ArtifactError: if it stores none.
    """
    for part in wire.fields(tensor, 0, len(tensor)):
        if part.number == 9:
            return np.frombuffer(tensor[part.start : part.stop], np.dtype(dtype).newbyteorder("<"))
    raise _cannot_cut("raw data in an initializer", "another encoding")
