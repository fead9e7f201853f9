"""Reads what an ONNX file says about itself, without the ``onnx`` package and without loading its weights.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Final, Self

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import LIMITS, Limits
from nip_runtime.file.container import messages, wire
from nip_runtime.file.container.graph import Graph
from nip_runtime.file.container.infos import InitializerInfo, NodeInfo, Places, TensorInfo
from nip_runtime.file.container.reader import LimitError, Reader, printable
from nip_runtime.file.container.wholefile import read_whole
from nip_runtime.file.container.wire import Buffer, Field, WireError
from nip_runtime.file.names import MANIFEST_KEY
from nip_runtime.support.kinds import kind_of

_METADATA_FIELD: Final = 14
_LARGE: Final = 4 << 20
"""Bytes whose digest takes milliseconds, and a thread a tenth of one."""


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
        nodes: operators of the main graph, in file order.
        initializers: stored weights of the main graph, in file order.
        attribute_tensors: constants that stand in attributes.
        functions: number of model-local functions.
        graph_range: byte range [start, stop) of the GraphProto.
        graph_digest: "sha256:…" of these bytes. Metadata stands outside them, so the manifest can hold it.
        foreign: the first few things in it that the artefact profile does not know, in words.
        places: where the parts of the main graph stand.
    """

    size_bytes: int
    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    metadata: Mapping[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: Mapping[str, int]
    nodes: tuple[NodeInfo, ...]
    initializers: tuple[InitializerInfo, ...]
    attribute_tensors: tuple[InitializerInfo, ...]
    functions: int
    graph_range: tuple[int, int]
    graph_digest: str
    foreign: tuple[str, ...]
    places: Places

    @property
    def weights_size_bytes(self) -> int:
        """Payload of all initializers in this file."""
        return sum(initializer.size_bytes for initializer in self.initializers)


def read_container(path: str | Path, limits: Limits = LIMITS) -> Container:
    """Describe the ONNX file at ``path``.

    Raises:
        ArtifactError: if there is no such file, or it is not a whole ONNX file, or beyond the limits.
    """
    return parse_container(read_whole(path, limits.file_bytes), origin=str(path), limits=limits)


def parse_container(buffer: Buffer, *, origin: str = "these bytes", limits: Limits = LIMITS) -> Container:
    """Describe a serialised ModelProto. ``origin`` names it in errors.

    Raises:
        ArtifactError: if the bytes are not one whole ONNX model, or beyond the limits.
    """
    if len(buffer) == 0:
        raise ArtifactError.mismatch(
            expected=f"an ONNX model in {origin}", got="an empty file", fix="export or copy the file again"
        )
    started = False
    try:
        model = _Model(Reader(buffer, limits))
        for field in model.reader.fields(0, len(buffer), messages.MODEL):
            model.take(field)
            started = model.ir_version > 0
        started = False  # whole on the outside: what is wrong from here on is damage, not a cut
        return model.finish()
    except LimitError as error:
        raise ArtifactError.mismatch(
            expected=f"{error.expected} in {origin}", got=error.got, fix="check which file this is"
        ) from error
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
            got=f"something else ({kind_of(buffer) or error})",
            fix="check which file this is",
        ) from error


def encode_metadata_entry(key: str, value: str) -> bytes:
    """Bytes that add one ``metadata_props`` entry when appended to a serialised ModelProto.

    Protobuf joins repeated fields wherever they stand, so a finished file needs no re-serialising and its
    graph bytes, and with them its digest, stay as they are.
    """
    return wire.encode_bytes(_METADATA_FIELD, wire.encode_bytes(1, key) + wire.encode_bytes(2, value))


class _Digest:
    """SHA-256 of a part of a file; that of a large one is computed beside the walk, where there is a core."""

    def __init__(self, buffer: Buffer, start: int, stop: int) -> None:
        self._sha256 = hashlib.sha256()
        self._part = memoryview(buffer)[start:stop]
        self._thread = Thread(target=self._sha256.update, args=(self._part,))
        self._beside = stop - start > _LARGE

    def __enter__(self) -> Self:
        if self._beside:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._beside:
            self._thread.join()

    def text(self) -> str:
        """The digest as "sha256:…"."""
        if self._beside:
            self._thread.join()
        else:
            self._sha256.update(self._part)
        return f"sha256:{self._sha256.hexdigest()}"


class _Model:
    """Collects the fields of a ModelProto."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.ir_version = 0
        self.producer = ""
        self.opsets: dict[str, int] = {}
        self.metadata: dict[str, str] = {}
        self.functions = 0
        self.graph: Field | None = None

    def take(self, field: Field) -> None:
        reader = self.reader
        match field.number:
            case 1:
                self.ir_version = wire.signed(field.value)
            case 2 | 3:
                self.producer = f"{self.producer} {reader.name(field)}".strip()
            case 7:
                # Protobuf would merge two graphs into one that neither digest nor reader has seen.
                if self.graph is not None:
                    raise WireError("two graphs in one file")
                self.graph = field
            case 8:
                self._operator_set(field)
            case 14:
                self._entry(field)
            case 25:
                self.functions += 1

    def _operator_set(self, field: Field) -> None:
        domain, version = "", 0
        for part in self.reader.inside(field, messages.OPERATOR_SET):
            if part.number == 1:
                domain = self.reader.name(part)
            else:
                version = wire.signed(part.value)
        domain = "" if domain == "ai.onnx" else domain
        if domain in self.opsets:
            self.reader.note("two versions of one operator set")
        self.opsets[domain] = version
        self.reader.limit("operator sets", len(self.opsets), self.reader.limits.metadata_entries)

    def _entry(self, field: Field) -> None:
        """Take a StringStringEntryProto."""
        reader, key, value = self.reader, "", ""
        for part in reader.inside(field, messages.ENTRY):
            if part.number == 1:
                key = reader.name(part)
            else:
                size, most = part.stop - part.start, reader.limits.manifest_bytes
                if size > most:
                    what = "a manifest" if key == MANIFEST_KEY else "metadata entries"
                    raise LimitError(f"{what} of at most {most} bytes", f"{size} bytes")
                value = wire.text(reader.buffer, part)
        if key in self.metadata:
            raise WireError(f"metadata key {printable(key)!r} appears twice")
        self.metadata[key] = value
        reader.limit("metadata entries", len(self.metadata), reader.limits.metadata_entries)

    def finish(self) -> Container:
        if self.ir_version <= 0 or self.graph is None or not self.opsets:
            missing = "graph" if self.graph is None else "IR or operator-set version"
            raise WireError(f"no {missing} in it")
        with _Digest(self.reader.buffer, self.graph.start, self.graph.stop) as digest:
            graph = Graph(self.reader, self.graph)
            graph_digest = digest.text()
        return self._described(graph, self.graph, graph_digest)

    def _described(self, graph: Graph, field: Field, graph_digest: str) -> Container:
        reader = self.reader
        weights = {initializer.name for initializer in graph.initializers}
        if any(value.name in weights for value in graph.inputs):
            reader.note("a weight that is also an input")
        return Container(
            size_bytes=len(reader.buffer),
            ir_version=self.ir_version,
            producer=self.producer,
            opsets=MappingProxyType(self.opsets),
            metadata=MappingProxyType(self.metadata),
            inputs=tuple(value for value in graph.inputs if value.name not in weights),
            outputs=tuple(graph.outputs),
            operators=MappingProxyType(dict(sorted(graph.operators.items()))),
            nodes=tuple(graph.nodes),
            initializers=tuple(graph.initializers),
            attribute_tensors=tuple(graph.tensors),
            functions=self.functions,
            graph_range=(field.start, field.stop),
            graph_digest=graph_digest,
            foreign=tuple(reader.foreign),
            places=graph.places,
        )
