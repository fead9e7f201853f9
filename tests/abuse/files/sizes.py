"""Too much of something, in the file or in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nip_runtime.file.container.encoder import encode_value
from nip_runtime.file.container.wire import encode_bytes, encode_int
from tests.abuse.files.bad_file import BadFile, of_graph
from tests.abuse.files.edits import add_node, add_weight
from tests.abuse.files.tree import (
    GRAPH,
    INITIALIZER,
    NODE,
    OPERATOR_SET,
    VALUE,
    Edit,
    Model,
    node,
)


def size_files() -> Iterator[BadFile]:
    """All of this kind."""
    yield from _counts()
    yield from _growing()


def _counts() -> Iterator[BadFile]:
    def many(number: int, content: bytes, count: int) -> Edit:
        part = encode_bytes(number, content)
        return lambda model: model.root.put(GRAPH, model.graph.encode() + part * count)

    empty = "expected at most .* in .*, got"
    yield of_graph(
        "20000-nodes-more", "at most 20000 nodes", many(NODE, node("Relu", ["input"], []).encode(), 20_000)
    )
    yield of_graph("empty-nodes", "at most 20000 nodes", many(NODE, b"", 30_000))
    yield of_graph("empty-weights", "at most 20000 initializers", many(INITIALIZER, b"", 30_000))
    yield of_graph("200001-values", "at most 200000 fields", many(VALUE, b"", 200_001))
    yield of_graph("200001-unknown-fields", "at most 200000 fields", many(99, b"", 200_001))
    yield of_graph("inputs-of-a-node", "at most 256 inputs of a node", add_node("Concat", ["input"] * 300))
    yield of_graph(
        "attributes-of-a-node",
        "at most 32 attributes of a node",
        add_node(
            "Relu",
            ["input"],
            *[encode_bytes(1, f"a{i}") + encode_int(3, i) + encode_int(20, 2) for i in range(40)],
        ),
    )
    yield of_graph(
        "numbers-in-an-attribute",
        empty + "|more than 4096 numbers",
        add_node("Relu", ["input"], encode_bytes(1, "a") + encode_bytes(8, bytes(10**6)) + encode_int(20, 7)),
    )
    yield of_graph(
        "floats-in-an-attribute",
        "at most 4096 numbers in an attribute",
        add_node("Relu", ["input"], encode_bytes(1, "a") + encode_bytes(7, bytes(10**6)) + encode_int(20, 6)),
    )
    yield of_graph("long-name", "names of at most 1024 bytes", add_node("Relu", ["x" * 10**6]))
    yield of_graph(
        "operator-sets",
        "at most 64 operator sets",
        _many_operator_sets,
    )
    yield of_graph(
        "rank-of-a-value",
        "at most 12 dimensions of a value",
        lambda model: model.graph.add(VALUE, encode_value("v", "float32", [1] * 99)),
    )


def _many_operator_sets(model: Model) -> None:
    for index in range(100):
        model.root.add(OPERATOR_SET, encode_bytes(1, f"d{index}") + encode_int(2, 1))


def _growing() -> Iterator[BadFile]:
    def sized(
        operator: str, sizes: np.ndarray, *, place: int = 1, attributes: tuple[bytes, ...] = ()
    ) -> Edit:
        def edit(model: Model) -> None:
            add_weight("sizes", sizes)(model)
            inputs = ["input"] * place + ["sizes"] if place != 2 else ["input", "", "sizes"]
            add_node(operator, inputs, *attributes)(model)

        return edit

    def big(*numbers: float) -> np.ndarray:
        return np.array(numbers, np.int64)

    def said(operator: str) -> str:
        return f"expected {operator} to at most 67108864 values per sample, got"

    yield of_graph("expand-bomb", said("Expand"), sized("Expand", big(2**31, 2**31)))
    yield of_graph("tile-bomb", said("Tile"), sized("Tile", big(1, 10**4, 10**4, 10**4)))
    yield of_graph("pad-bomb", said("Pad"), sized("Pad", big(0, 0, 10**6, 10**6, 0, 0, 0, 0)))
    yield of_graph(
        "constant-bomb", said("ConstantOfShape"), sized("ConstantOfShape", big(2**20, 2**20), place=0)
    )
    yield of_graph("range-bomb", said("Range"), sized("Range", big(2**40), place=1))
    yield of_graph("one-hot-bomb", said("OneHot"), sized("OneHot", big(2**40)))
    yield of_graph(
        "resize-bomb", said("Resize"), sized("Resize", np.array([1, 1, 1e6, 1e6], np.float32), place=2)
    )
    yield of_graph(
        "resize-nan", said("Resize"), sized("Resize", np.array([1, 1, np.nan, 1], np.float32), place=2)
    )
    yield of_graph("long-sizes", "sizes from at most 256 numbers", sized("Expand", np.ones(300, np.int64)))
    yield of_graph("hidden-bomb", said("Expand"), _hidden_bomb)
    for name in ("pads", "kernel_shape", "strides"):
        numbers = b"".join(encode_int(8, 2**31) for _ in range(4))
        attribute = encode_bytes(1, name) + numbers + encode_int(20, 7)
        yield of_graph(
            f"huge-{name}",
            f"expected {name} of MaxPool up to 4096",
            add_node("MaxPool", ["input"], attribute),
        )


def _hidden_bomb(model: Model) -> None:
    """The sizes are put together by the graph."""
    add_weight("many", np.array([2**20], np.int64))(model)
    model.graph.add(
        NODE,
        node(
            "Concat",
            ["many", "many"],
            ["both"],
            encode_bytes(1, "axis") + encode_int(3, 0) + encode_int(20, 2),
        ),
    )
    model.graph.add(NODE, node("Identity", ["both"], ["sizes"]))
    add_node("Expand", ["input", "sizes"])(model)
