"""Weights whose data do not fill them, values without a name of their own, other inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nip_runtime.file.container.encoder import encode_value
from nip_runtime.file.container.wire import encode_bytes, encode_int
from tests.abuse.files.bad_file import BadFile, of_graph
from tests.abuse.files.edits import add_node, add_weight
from tests.abuse.files.tree import (
    INPUT,
    NODE,
    OUTPUT,
    VALUE,
    Edit,
    Message,
    Model,
    node,
)

_FOREIGN = "expected only what the artefact profile knows, got "


def value_files() -> Iterator[BadFile]:
    """All of this kind."""
    yield from _tensors()
    yield from _values()
    yield from _interfaces()


def _tensors() -> Iterator[BadFile]:
    def weight(change: Callable[[Message], None], name: str = "classifier.weight") -> Edit:
        return lambda model: change(model.weight(name))

    def dims(*sizes: int) -> Edit:
        def change(tensor: Message) -> None:
            tensor.drop(1)
            for size in sizes:
                tensor.add(1, size)

        return weight(change)

    said = "weight 'classifier.weight' with the .* values that its shape .* states"
    yield of_graph("zip-bomb", said, dims(2**31, 2**31))
    yield of_graph("zip-bomb-overflowing", said, dims(*[2**62] * 6))
    yield of_graph("zip-bomb-without-data", said, weight(lambda tensor: tensor.drop(9)))
    yield of_graph("more-data-than-shape", said, dims(1, 16))
    yield of_graph("negative-size", "weight 'classifier.weight' of sizes from 0", dims(-10, -16))
    yield of_graph("rank-13", "expected at most 12 dimensions of a tensor", dims(160, *[1] * 12))
    yield of_graph("data-type", said, weight(lambda tensor: tensor.put(2, 11)))
    yield of_graph(
        "text-weights", "of a plain number type, got string", weight(lambda tensor: tensor.put(2, 8))
    )
    yield of_graph(
        "unknown-data-type", "of a plain number type, got type 77", weight(lambda tensor: tensor.put(2, 77))
    )
    yield of_graph(
        "data-type-beyond-32-bits",
        "of a plain number type, got type 4294967297",
        weight(lambda tensor: tensor.put(2, 2**32 + 1)),
    )
    yield of_graph("data-twice", "data in two forms", weight(lambda tensor: tensor.add(4, bytes(640))))
    yield of_graph(
        "raw-data-twice", "field 9 of a tensor twice", weight(lambda tensor: tensor.add(9, bytes(640)))
    )
    yield of_graph("cut-data", said, weight(lambda tensor: tensor.put(9, bytes(639))))
    for name, location in (("absolute", "/etc/passwd"), ("up", "../../secret"), ("beside", "weights.bin")):
        yield of_graph(
            f"external-{name}",
            "expected all weights inside the file, got classifier.weight",
            weight(_moved_outside(location)),
        )
    yield of_graph(
        "location-beyond-32-bits",
        "all weights inside the file",
        weight(lambda tensor: tensor.add(14, 2**32 + 1)),
    )
    yield of_graph(
        "bomb-in-an-attribute",
        "values that its shape",
        add_node(
            "ConstantOfShape",
            ["nip/class_axis"],
            encode_bytes(1, "value")
            + encode_bytes(5, encode_int(1, 2**40) + encode_int(2, 1))
            + encode_int(20, 4),
        ),
    )


def _moved_outside(location: str) -> Callable[[Message], None]:
    def change(tensor: Message) -> None:
        tensor.drop(9)
        tensor.add(13, encode_bytes(1, "location") + encode_bytes(2, location))
        tensor.add(14, 1)

    return change


def _values() -> Iterator[BadFile]:
    own = "expected a name of its own for every value"
    before = "that are computed before it"
    yield of_graph("weight-name-twice", own, add_weight("mean", np.zeros(1, np.float32)))
    yield of_graph(
        "weight-named-as-input",
        "a weight that is also an input|graph inputs input",
        add_weight("input", np.zeros(1, np.float32)),
    )
    yield of_graph(
        "value-computed-twice",
        own + ", got nip/perturbed",
        lambda model: model.graph.add(NODE, node("Relu", ["input"], ["nip/perturbed"])),
    )
    yield of_graph(
        "value-named-as-weight", own, lambda model: model.graph.add(NODE, node("Relu", ["input"], ["mean"]))
    )
    yield of_graph("unknown-value", before + ", got nowhere", add_node("Relu", ["nowhere"]))
    yield of_graph(
        "circle",
        before + ", got second",
        _circle,
    )
    yield of_graph("reads-itself", before + ", got added", add_node("Relu", ["added"]))
    yield of_graph("nodes-backwards", before, lambda model: model.graph.fields.reverse())


def _circle(model: Model) -> None:
    model.graph.add(NODE, node("Relu", ["second"], ["first"]))
    model.graph.add(NODE, node("Relu", ["first"], ["second"]))


def _interfaces() -> Iterator[BadFile]:
    def rename(model: Model) -> None:
        model.value("nip_flagged").put(1, "flagged")

    def fixed(name: str, dtype: str, shape: list[int | str], number: int = OUTPUT) -> Edit:
        def edit(model: Model) -> None:
            content = encode_value(name, dtype, shape)
            for part in model.graph.parts(number):
                if isinstance(part.value, Message) and part.value.text(1) == name:
                    part.value = content

        return edit

    def swap(model: Model) -> None:
        first, second = model.graph.parts(OUTPUT)[:2]
        first.value, second.value = second.value, first.value

    def drop_last(model: Model) -> None:
        model.graph.fields.remove(model.graph.parts(OUTPUT)[-1])

    def uncomputed(model: Model) -> None:
        model.graph.fields = [p for p in model.graph.fields if p.value is not model.node("nip_candidate")]

    yield of_graph("output-renamed", "expected graph outputs that the graph computes, got flagged", rename)
    yield of_graph("outputs-swapped", "expected graph outputs logits", swap)
    yield of_graph("output-missing", "expected graph outputs", drop_last)
    yield of_graph(
        "output-not-computed", "expected graph outputs that the graph computes, got nip_candidate", uncomputed
    )
    yield of_graph(
        "output-of-9-classes",
        r"float32 \(N, 10\), got float32 \(N, 9\)",
        fixed("logits", "float32", ["N", 9]),
    )
    yield of_graph("output-of-another-type", "got int64", fixed("nip_flagged", "int64", ["N"]))
    yield of_graph("output-of-fixed-batch", r"got bool \(1,\)", fixed("nip_flagged", "bool", [1]))
    yield of_graph(
        "input-of-another-size",
        r"got float32 \(N, 1, 32, 32\)",
        fixed("input", "float32", ["N", 1, 32, 32], INPUT),
    )
    yield of_graph("input-of-another-type", "got float64", fixed("input", "float64", ["N", 1, 28, 28], INPUT))
    yield of_graph(
        "second-input",
        "expected graph inputs input, got input, more",
        lambda model: model.graph.add(INPUT, encode_value("more", "float32", ["N"])),
    )
    yield of_graph(
        "sequence-input",
        _FOREIGN + "a sequence",
        lambda model: model.graph.add(VALUE, encode_bytes(1, "s") + encode_bytes(2, encode_bytes(4, b""))),
    )
    yield of_graph(
        "optional-value",
        _FOREIGN + "an optional",
        lambda model: model.graph.add(VALUE, encode_bytes(1, "s") + encode_bytes(2, encode_bytes(9, b""))),
    )
    yield of_graph(
        "dimension-of-two-sizes",
        "a dimension of two sizes",
        lambda model: next(m for m in model.value("input", INPUT).walk() if m.kind == "dimension").add(1, 4),
    )
