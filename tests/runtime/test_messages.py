"""The fields that the reader knows are those of ONNX, and each is read as the onnx package reads it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import LIMITS
from nip_runtime.file.container import messages, parse_container
from nip_runtime.file.container.messages import Message
from nip_runtime.file.container.wire import WireType

onnx: Any = pytest.importorskip("onnx")
helper, TENSOR = onnx.helper, onnx.TensorProto

MESSAGES: Final = (
    (messages.MODEL, onnx.ModelProto),
    (messages.OPERATOR_SET, onnx.OperatorSetIdProto),
    (messages.ENTRY, onnx.StringStringEntryProto),
    (messages.GRAPH, onnx.GraphProto),
    (messages.NODE, onnx.NodeProto),
    (messages.ATTRIBUTE, onnx.AttributeProto),
    (messages.TENSOR, onnx.TensorProto),
    (messages.VALUE, onnx.ValueInfoProto),
    (messages.TYPE, onnx.TypeProto),
    (messages.TENSOR_TYPE, onnx.TypeProto.Tensor),
    (messages.SHAPE, onnx.TensorShapeProto),
    (messages.DIMENSION, onnx.TensorShapeProto.Dimension),
)


def wire_type(field: Any) -> WireType:
    if field.type in (field.TYPE_MESSAGE, field.TYPE_STRING, field.TYPE_BYTES):
        return WireType.BYTES
    return {field.TYPE_FLOAT: WireType.FIXED32, field.TYPE_DOUBLE: WireType.FIXED64}.get(
        field.type, WireType.VARINT
    )


@pytest.mark.parametrize(("message", "proto"), MESSAGES, ids=[proto.__name__ for _, proto in MESSAGES])
def test_known_fields_are_those_of_onnx(message: Message, proto: Any) -> None:
    fields = {field.number: field for field in proto.DESCRIPTOR.fields}
    # A release of the package may lack what a later one adds; what is refused by name need not be in each.
    assert message.rules.keys() <= fields.keys() <= message.rules.keys() | message.refused.keys()
    assert not message.rules.keys() & message.refused.keys()
    for number, (kinds, bit) in message.rules.items():
        kind, repeated = wire_type(fields[number]), hasattr(getattr(proto(), fields[number].name), "extend")
        packed = {WireType.BYTES} if repeated else set()
        assert set(kinds) == {kind} | packed, fields[number].name
        assert bit == (0 if repeated else 1 << number), fields[number].name


def model(*nodes: Any, weights: tuple[Any, ...] = (), shape: tuple[int | str | None, ...] = ("N",)) -> Any:
    value = helper.make_tensor_value_info("x", TENSOR.FLOAT, shape)
    graph = helper.make_graph(list(nodes), "graph", [value], [value], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (1.5, 1.5),
        (-3, -3),
        ("text", b"text"),
        ([1, -2, 300], (1, -2, 300)),
        ([0.5, 1.5], None),
        (["a", "b"], None),
        (helper.make_tensor("inner", TENSOR.FLOAT, [2], [1, 2]), None),
    ],
    ids=["number", "whole number", "text", "whole numbers", "numbers", "texts", "tensor"],
)
def test_attributes_of_every_kind_are_known(given: Any, read: object) -> None:
    content = model(helper.make_node("Fancy", ["x"], ["y"], given=given)).SerializeToString()
    container = parse_container(content)
    assert container.nodes[0].attributes == {"given": read}
    assert container.foreign == ()
    assert [tensor.name for tensor in container.attribute_tensors] == ["inner"] * hasattr(given, "dims")


@pytest.mark.parametrize("value", [1, 0.5, "a"], ids=["whole numbers", "numbers", "texts"])
def test_an_attribute_holds_as_many_numbers_or_texts_as_allowed_and_not_one_more(value: Any) -> None:
    most = LIMITS.attribute_numbers
    content = model(helper.make_node("Fancy", ["x"], ["y"], given=[value] * most)).SerializeToString()
    assert parse_container(content).foreign == ()
    content = model(helper.make_node("Fancy", ["x"], ["y"], given=[value] * (most + 1))).SerializeToString()
    with pytest.raises(ArtifactError, match=f"at most {most} numbers in an attribute"):
        parse_container(content)


def test_what_is_outside_the_profile_is_named() -> None:
    node = helper.make_node("Fancy", ["x"], ["y"])
    node.overload = "of another"
    strange = model(node, weights=(helper.make_tensor("text", TENSOR.STRING, [1], [b"a"]),))
    strange.graph.quantization_annotation.add().tensor_name = "x"
    strange.training_info.add()
    container = parse_container(strange.SerializeToString())
    assert set(container.foreign) == {
        "an overload of a function",
        "text in a tensor",
        "quantisation annotations",
        "training information",
    }


def test_what_a_dimension_means_is_not_its_size() -> None:
    given = model(shape=("N", 3, None))
    for dimension in given.graph.input[0].type.tensor_type.shape.dim:
        dimension.denotation = "DATA_CHANNEL"
    container = parse_container(given.SerializeToString())
    assert container.inputs[0].shape == ("N", 3, None)
    assert container.foreign == ()


NUMBERS: Final = {
    "float32": TENSOR.FLOAT, "uint8": TENSOR.UINT8, "int8": TENSOR.INT8, "uint16": TENSOR.UINT16,
    "int16": TENSOR.INT16, "int32": TENSOR.INT32, "int64": TENSOR.INT64, "bool": TENSOR.BOOL,
    "float16": TENSOR.FLOAT16, "float64": TENSOR.DOUBLE, "uint32": TENSOR.UINT32, "uint64": TENSOR.UINT64,
}  # fmt: skip


@pytest.mark.parametrize("dtype", NUMBERS)
def test_values_are_counted_however_they_are_stored(dtype: str) -> None:
    values = np.array([[0, 1, 1], [100, 1, 0]]).astype(dtype)
    if dtype in ("int16", "int32", "int64"):
        values[1, 2] = -7  # ten bytes
    raw = onnx.numpy_helper.from_array(values, "w")
    typed = helper.make_tensor("w", NUMBERS[dtype], values.shape, values.ravel())
    assert raw.HasField("raw_data") and not typed.HasField("raw_data")
    for tensor in (raw, typed):
        (read,) = parse_container(model(weights=(tensor,)).SerializeToString()).initializers
        assert (read.dtype, read.shape, read.stored, read.elements) == (dtype, (2, 3), 6, 6)
    typed.dims[0] = 3
    (read,) = parse_container(model(weights=(typed,)).SerializeToString()).initializers
    assert (read.stored, read.elements) == (6, 9), "what is stored, not what is stated"


def test_values_in_another_types_field_are_not_counted() -> None:
    tensor = helper.make_tensor("w", TENSOR.FLOAT, [2], [1.0, 2.0])
    tensor.data_type = TENSOR.INT64
    (read,) = parse_container(model(weights=(tensor,)).SerializeToString()).initializers
    assert read.stored is None
