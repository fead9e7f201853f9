"""Operators, domains, functions and fields that the profile does not know."""

from __future__ import annotations

from collections.abc import Iterator

from nip_runtime.file.container.wire import encode_bytes, encode_int
from tests.abuse.files.bad_file import BadFile, of_bytes, of_graph
from tests.abuse.files.edits import add_node
from tests.abuse.files.seal import bare, sealed
from tests.abuse.files.tree import (
    FUNCTION,
    NODE,
    OPERATOR_SET,
    Edit,
    node,
)

_FOREIGN = "expected only what the artefact profile knows, got "
CHAIN = 3000
CHAIN = 3000


def operator_files() -> Iterator[BadFile]:
    """All of this kind."""
    yield from _operators()
    yield from _foreign()


def _operators() -> Iterator[BadFile]:
    profile = "expected operators of the artefact profile, got "
    yield of_graph(
        "foreign-domain",
        "standard operators only, got com.evil.Add",
        add_node("Add", ["input"] * 2, domain="com.evil"),
    )
    yield of_graph(
        "microsoft-domain",
        "standard operators only",
        add_node("FusedConv", ["input"], domain="com.microsoft"),
    )
    yield of_graph("unknown-operator", profile + "NoSuchOperator", add_node("NoSuchOperator", ["input"]))
    yield of_graph("no-operator", "expected operators of the artefact profile", add_node("", ["input"]))
    for operator in ("If", "Loop", "Scan"):
        yield of_graph(
            f"control-flow-{operator}",
            f"expected no control flow, got {operator}",
            add_node(operator, ["input"]),
        )
    for operator in (
        "Dropout", "RandomNormal", "RandomUniformLike", "Bernoulli", "Multinomial", "SequenceEmpty",
        "SequenceAt", "SplitToSequence", "Optional", "StringNormalizer", "TfIdfVectorizer", "Unique",
        "Compress", "Constant", "NonMaxSuppression", "SoftmaxCrossEntropyLoss", "ImageDecoder",
    ):  # fmt: skip
        yield of_graph(f"operator-{operator}", profile + operator, add_node(operator, ["input"]))
    yield of_graph("terminal-escapes", r"got Add\\x1b\[2J", add_node("Add\x1b[2J\n", ["input"]))
    yield of_bytes("function-chain", f"no model-local functions, got {CHAIN}", _function_chain)


def _function_chain() -> bytes:
    """Functions that call each other, 3000 deep: opening such a file ends an onnxruntime process."""
    functions = b""
    for index in range(CHAIN):
        inner = node(f"F{index + 1}" if index + 1 < CHAIN else "Relu", ["x"], ["y"])
        if index + 1 < CHAIN:
            inner.add(7, "chain")
        opsets = encode_bytes(9, encode_bytes(1, "") + encode_int(2, 17)) + encode_bytes(
            9, encode_bytes(1, "chain") + encode_int(2, 1)
        )
        function = encode_bytes(1, f"F{index}") + encode_bytes(4, "x") + encode_bytes(5, "y")
        functions += encode_bytes(
            FUNCTION, function + encode_bytes(7, inner.encode()) + opsets + encode_bytes(10, "chain")
        )
    return sealed(bare() + functions + encode_bytes(8, encode_bytes(1, "chain") + encode_int(2, 1)))


def _foreign() -> Iterator[BadFile]:
    def root(number: int, value: int | bytes) -> Edit:
        return lambda model: model.root.add(number, value)

    def graph(number: int, value: bytes) -> Edit:
        return lambda model: model.graph.add(number, value)

    def attribute(content: bytes) -> Edit:
        return add_node("Relu", ["input"], encode_bytes(1, "a") + content)

    yield of_graph("training", _FOREIGN + "training information", root(20, b""))
    yield of_graph("device-configuration", _FOREIGN + "a device configuration", root(26, b""))
    yield of_graph("unknown-field", _FOREIGN + "field 99 of the model", root(99, 1))
    yield of_graph("huge-field-number", _FOREIGN + "field 1000000000 of the model", root(10**9, 1))
    yield of_graph("sparse", _FOREIGN + "sparse weights", graph(15, b""))
    yield of_graph("quantisation-annotation", _FOREIGN + "quantisation annotations", graph(14, b""))
    yield of_graph("graph-metadata", _FOREIGN + "metadata of the graph", graph(16, encode_bytes(1, "k")))
    yield of_graph("subgraph", _FOREIGN + "a subgraph", attribute(encode_bytes(6, b"") + encode_int(20, 5)))
    yield of_graph("subgraphs", _FOREIGN + "subgraphs", attribute(encode_bytes(11, b"") + encode_int(20, 10)))
    yield of_graph(
        "function-attribute", _FOREIGN + "an attribute of a function", attribute(encode_bytes(21, "b"))
    )
    yield of_graph(
        "attribute-type", "whose type and value differ", attribute(encode_int(3, 1) + encode_int(20, 7))
    )
    yield of_graph(
        "attribute-twice",
        "two attributes a of one Relu",
        add_node(
            "Relu",
            ["input"],
            *[encode_bytes(1, "a") + encode_int(3, i) + encode_int(20, 2) for i in range(2)],
        ),
    )
    yield of_graph(
        "node-metadata",
        _FOREIGN + "metadata of a node",
        lambda model: model.graph.messages(NODE)[0].add(9, b""),
    )
    yield of_graph(
        "operator-twice",
        _FOREIGN + "field 4 of a node twice",
        lambda model: model.graph.messages(NODE)[0].add(4, "Add"),
    )
    yield of_graph(
        "domain-imported",
        "the standard operator set alone",
        root(OPERATOR_SET, encode_bytes(1, "com.evil") + encode_int(2, 1)),
    )
    yield of_graph(
        "opset-twice",
        "two versions of one operator set",
        root(OPERATOR_SET, encode_bytes(1, "ai.onnx") + encode_int(2, 17)),
    )
    yield of_graph("ir-version", "expected ONNX IR version 8, got 99", lambda model: model.root.put(1, 99))
    yield of_graph(
        "opset",
        "expected opset 17, got opset 13",
        lambda model: model.root.messages(OPERATOR_SET)[0].put(2, 13),
    )
    yield of_graph("subgraphs-200-deep", "subgraphs nested at most 16 deep", _deep(200))


def _deep(depth: int) -> Edit:
    inner = b""
    for _ in range(depth):
        attribute = encode_bytes(1, "body") + encode_bytes(6, encode_bytes(1, inner)) + encode_int(20, 5)
        inner = encode_bytes(4, "If") + encode_bytes(5, attribute)
    return lambda model: model.graph.add(NODE, inner)
