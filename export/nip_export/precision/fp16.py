"""Conversion to float16 by the converter that onnxruntime ships; the graph's ends stay float32."""

from __future__ import annotations

import warnings

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

ELEMENTWISE = ("Sub", "Div")
"""Operators of the normalisation."""


def normalisation(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes between input and network: they stay in float32, so pixels are rounded only once."""
    constants = {tensor.name for tensor in graph.initializer}
    value, found = graph.input[0].name, list[str]()
    while True:
        users = [node for node in graph.node if value in node.input]
        if len(users) != 1 or users[0].op_type not in ELEMENTWISE:
            return found
        if any(name not in constants for name in users[0].input if name != value):
            return found
        found.append(users[0].name)
        value = users[0].output[0]


def without_round_trips(graph: onnx.GraphProto) -> None:
    """Take out, in place, what rounds float32 to float16 only to go on in float32.

    The converter leaves such pairs around nodes that stay in float32, and pixels would be rounded after all.
    """
    down = {node.output[0]: node.input[0] for node in graph.node if _casts_to(node, onnx.TensorProto.FLOAT16)}
    outputs = {value.name for value in graph.output}
    replaced = {
        node.output[0]: down[node.input[0]]
        for node in graph.node
        if _casts_to(node, onnx.TensorProto.FLOAT) and node.input[0] in down and node.output[0] not in outputs
    }
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = replaced.get(name, name)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float16 weights and activations between float32 inputs and outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # the converter works in place
    with warnings.catch_warnings():
        # It warns of weights that float16 cannot hold; what comes of them is measured afterwards.
        warnings.simplefilter("ignore")
        converted: onnx.ModelProto = convert_float_to_float16(
            copy, keep_io_types=True, node_block_list=normalisation(model.graph)
        )
    without_round_trips(converted.graph)
    return converted
