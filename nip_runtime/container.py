"""Reads what an ONNX file says about itself, without the ``onnx`` package and without loading its weights.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from nip_runtime import wire
from nip_runtime.errors import ArtifactError
from nip_runtime.graph import Graph, InitializerInfo, TensorInfo, inside
from nip_runtime.wire import Buffer, Field, WireError, WireType

_METADATA_FIELD: Final = 14
_HASH_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Container:
    """What an ONNX file says about itself.

    Attributes:
        size_bytes: of the whole file.
        ir_version: ONNX IR version.
        producer: name and version of the writing tool, possibly empty.
        opsets: version by operator domain; the standard domain is "".
        metadata: the file's ``metadata_props``.
        inputs: graph inputs that are no initializers, in order.
        outputs: graph outputs, in order.
        operators: node count by operator, subgraphs included; "domain.Operator" outside the standard domain.
        initializers: stored weights of the main graph, in file order.
        functions: number of model-local functions.
        graph_range: byte range [start, stop) of the GraphProto.
        graph_digest: "sha256:…" of these bytes. Metadata stands outside them, so the manifest can hold it.
    """

    size_bytes: int
    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    metadata: Mapping[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: Mapping[str, int]
    initializers: tuple[InitializerInfo, ...]
    functions: int
    graph_range: tuple[int, int]
    graph_digest: str

    @property
    def weights_size_bytes(self) -> int:
        """Payload of all initializers in this file."""
        return sum(initializer.size_bytes for initializer in self.initializers)


def read_container(path: str | Path) -> Container:
    """Describe the ONNX file at ``path``. It is mapped, not loaded; its graph is read once for the digest.

    Raises:
        ArtifactError: if there is no such file, or it is not a whole ONNX file.
    """
    with mapped(path) as buffer:
        return parse_container(buffer, origin=str(path))


@contextmanager
def mapped(path: str | Path) -> Iterator[Buffer]:
    """The bytes of the file at ``path``, mapped rather than loaded, while the block runs.

    Raises:
        ArtifactError: if there is no such file, or it can't be read.
    """
    path = Path(path)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing there"
        raise ArtifactError.mismatch(expected=f"an ONNX file at {path}", got=got, fix="check the path")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            # A mapping of nothing can't be made.
            empty = path.stat().st_size == 0
            buffer = (
                b"" if empty else stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            )
        except OSError as error:
            raise ArtifactError.mismatch(
                expected=f"a readable file at {path}", got=str(error), fix="check its permissions"
            ) from error
        yield buffer


def parse_container(buffer: Buffer, *, origin: str = "these bytes") -> Container:
    """Describe a serialised ModelProto. ``origin`` names it in errors.

    Raises:
        ArtifactError: if the bytes are not one whole ONNX model.
    """
    if len(buffer) == 0:
        raise ArtifactError.mismatch(
            expected=f"an ONNX model in {origin}", got="an empty file", fix="export or copy the file again"
        )
    started = False
    try:
        model = _Model()
        for field in wire.fields(buffer, 0, len(buffer)):
            model.take(buffer, field)
            started = model.ir_version > 0
        started = False  # whole on the outside: what is wrong from here on is damage, not a cut
        return model.finish(buffer)
    except WireError as error:
        # A model starts with its IR version; whatever runs past its end without one was never a model.
        if error.truncated and started:
            raise ArtifactError.mismatch(
                expected=f"a whole ONNX model in {origin}",
                got=f"a file cut off after {len(buffer)} bytes ({error})",
                fix="copy or download it again",
            ) from error
        raise ArtifactError.mismatch(
            expected=f"an ONNX model in {origin}",
            got=f"something else ({error})",
            fix="check which file this is",
        ) from error


def encode_metadata_entry(key: str, value: str) -> bytes:
    """Bytes that add one ``metadata_props`` entry when appended to a serialised ModelProto.

    Protobuf joins repeated fields wherever they stand, so a finished file needs no re-serialising and its
    graph bytes, and with them its digest, stay as they are.
    """
    return wire.encode_bytes(_METADATA_FIELD, wire.encode_bytes(1, key) + wire.encode_bytes(2, value))


def _digest(buffer: Buffer, start: int, stop: int) -> str:
    sha256 = hashlib.sha256()
    for begin in range(start, stop, _HASH_BLOCK_BYTES):
        sha256.update(buffer[begin : min(begin + _HASH_BLOCK_BYTES, stop)])
    return f"sha256:{sha256.hexdigest()}"


def _pair(buffer: Buffer, field: Field) -> tuple[str, str]:
    """A StringStringEntryProto."""
    found = {part.number: wire.text(buffer, part) for part in inside(buffer, field) if part.number in (1, 2)}
    return found.get(1, ""), found.get(2, "")


class _Model:
    """Collects the fields of a ModelProto."""

    def __init__(self) -> None:
        self.ir_version = 0
        self.producer = ""
        self.opsets: dict[str, int] = {}
        self.metadata: dict[str, str] = {}
        self.functions = 0
        self.graph: Field | None = None

    def take(self, buffer: Buffer, field: Field) -> None:
        match field.number:
            case 1 if field.wire_type is WireType.VARINT:
                self.ir_version = wire.signed(field.value)
            case 2 | 3:
                self.producer = f"{self.producer} {wire.text(buffer, field)}".strip()
            case 7:
                # Protobuf would merge two graphs into one that neither digest nor reader has seen.
                if self.graph is not None:
                    raise WireError("two graphs in one file")
                self.graph = field
            case 8:
                parts = {part.number: part for part in inside(buffer, field)}
                domain = wire.text(buffer, parts[1]) if 1 in parts else ""
                self.opsets["" if domain == "ai.onnx" else domain] = (
                    wire.signed(parts[2].value) if 2 in parts else 0
                )
            case 14:
                key, value = _pair(buffer, field)
                if key in self.metadata:
                    raise WireError(f"metadata key {key!r} stands twice")
                self.metadata[key] = value
            case 25:
                self.functions += 1

    def finish(self, buffer: Buffer) -> Container:
        if self.ir_version <= 0 or self.graph is None or not self.opsets:
            missing = "graph" if self.graph is None else "IR or operator-set version"
            raise WireError(f"no {missing} in it")
        graph = Graph()
        for field in inside(buffer, self.graph):
            graph.take(buffer, field)
        weights = {initializer.name for initializer in graph.initializers}
        return Container(
            size_bytes=len(buffer),
            ir_version=self.ir_version,
            producer=self.producer,
            opsets=MappingProxyType(self.opsets),
            metadata=MappingProxyType(self.metadata),
            inputs=tuple(value for value in graph.inputs if value.name not in weights),
            outputs=tuple(graph.outputs),
            operators=MappingProxyType(dict(sorted(graph.operators.items()))),
            initializers=tuple(graph.initializers),
            functions=self.functions,
            graph_range=(self.graph.start, self.graph.stop),
            graph_digest=_digest(buffer, self.graph.start, self.graph.stop),
        )
