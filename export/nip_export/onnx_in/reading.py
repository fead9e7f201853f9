"""An ONNX file as it comes: read, and refused in one sentence where no defence can be made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner

from nip_runtime.errors import ExportError
from nip_runtime.file.names import MANIFEST_KEY

STANDARD = ("", "ai.onnx")
OLDEST_OPSET = 7
BRANCHING = frozenset(("If", "Loop", "Scan", "SequenceMap"))
RECURRENT = frozenset(("GRU", "LSTM", "RNN"))
QUANTISED = frozenset(
    (
        "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv",
        "QLinearMatMul", "QuantizeLinear",
    )
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Source:
    """A file that was read.

    Attributes:
        name: of the file, for messages.
        content: its bytes; with the asked value as an output.
        proto: what they hold, model-local functions written out.
    """

    name: str
    content: bytes
    proto: onnx.ModelProto

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return next((each.version for each in self.proto.opset_import if each.domain in STANDARD), 1)

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators, each once."""
        return tuple(sorted({node.op_type for node in self.proto.graph.node}))


def read(source: str | Path | bytes, *, output: str | int | None = None) -> Source:
    """Read an ONNX file.

    Args:
        source: path of the file, or its bytes.
        output: name of a value that is to be answered; one inside the network becomes an output.

    Raises:
        ExportError: there is no such file, it is no ONNX file, its weights stand elsewhere, or it is no
            single feed-forward network in floating point.
    """
    name, content = ("the ONNX file", source) if isinstance(source, bytes) else _bytes(Path(source))
    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's; its classes have no stubs
        raise ExportError(f"expected an ONNX file, got {name}, which is none ({error})") from error
    if not proto.graph.node:
        raise ExportError(f"expected an ONNX file with a network, got {name}, which holds no operators")
    _refuse_elsewhere(name, proto)
    if any(entry.key == MANIFEST_KEY for entry in proto.metadata_props):
        raise ExportError(f"{name} is a defended file already; pass the plain one that it was made from")
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    _unname_standard(proto)
    if isinstance(output, str) and _answer(proto, output):
        content = proto.SerializeToString()
    found = Source(name, content, proto)
    _refuse(found)
    return found


def _bytes(path: Path) -> tuple[str, bytes]:
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}; expected an ONNX file") from error


def _stored(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All stored tensors: weights, and those of constants."""
    yield from proto.graph.initializer
    for node in _nodes(proto.graph):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _refuse_elsewhere(name: str, proto: onnx.ModelProto) -> None:
    for weight in _stored(proto):
        if weight.data_location == onnx.TensorProto.EXTERNAL:
            where = next((entry.value for entry in weight.external_data if entry.key == "location"), "")
            raise ExportError(
                f"{name} keeps its weights in another file, {where!r}; put both into one file first: "
                f"python -c \"import onnx; onnx.save(onnx.load('{name}'), 'one.onnx')\", or write one with "
                "torch.onnx.export(…, external_data=False)"
            )


def _unname_standard(proto: onnx.ModelProto) -> None:
    """Call the standard domain "" everywhere, as nearly all files do."""
    for each in (*proto.opset_import, *_nodes(proto.graph)):
        if each.domain in STANDARD:
            each.domain = ""


def _answer(proto: onnx.ModelProto, name: str) -> bool:
    """Let a value inside the network be an output of it; whether there is such a value."""
    made = any(name in node.output for node in proto.graph.node)
    if not made or any(value.name == name for value in proto.graph.output):
        return False
    proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return True


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _refuse(source: Source) -> None:
    nodes, name = list(_nodes(source.proto.graph)), source.name
    domains = {node.domain for node in nodes} - set(STANDARD)
    used = {node.op_type for node in nodes if node.domain in STANDARD}
    if any(domain.startswith("ai.onnx.ml") for domain in domains):
        kinds = ", ".join(sorted({node.op_type for node in nodes if node.domain.startswith("ai.onnx.ml")}))
        raise ExportError(
            f"{name} holds a classical estimator ({kinds}), which has no layers to look into; expected a "
            "neural network of standard ONNX operators"
        )
    if domains:
        named = ", ".join(sorted({f"{n.domain}::{n.op_type}" for n in nodes if n.domain not in STANDARD}))
        raise ExportError(
            f"{name} uses operators outside the ONNX standard: {named}; export it anew without them, or take "
            "the file from before it was optimised for one engine"
        )
    for kind, sentence in (
        (RECURRENT, "keeps a recurrent state ({}), which is not supported; expected a feed-forward network"),
        (BRANCHING, "branches or loops ({}), which no defended file may; export it anew with fixed shapes"),
        (QUANTISED, "is quantised ({}); pass the float file, and --precision int8 to quantise the result"),
    ):
        if used & kind:
            raise ExportError(f"{name} {sentence.format(', '.join(sorted(used & kind)))}")
    if source.opset < OLDEST_OPSET:
        raise ExportError(
            f"{name} is of opset {source.opset}, expected {OLDEST_OPSET} or newer; convert it first with "
            "onnx.version_converter"
        )
