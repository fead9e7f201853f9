"""The graph that the user gave, with normalisation and taps, in the place of one traced from PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from torch import Tensor

from nip_export.attach.tidy import all_values
from nip_export.network.points import resolve_points
from nip_export.network.rebuilt import OnnxNetwork
from nip_export.network.tapped import TappedNetwork


def own_graph(model: OnnxNetwork, network: TappedNetwork) -> ir.Model:
    """A copy of the user's graph with the normalisation in front and tapped values as further outputs.

    Args:
        model: the network that was an ONNX file.
        network: it with normalisation and taps.
    """
    copy = model.graph.clone()
    graph = copy.graph
    named = {value.name: value for value in all_values(graph)}
    outputs = list(graph.outputs)
    points = resolve_points(model, network.taps).values() if network.taps else ()
    for point in points:
        value = named[model.value_at(point.layer, at_input=point.at_input)]
        if value in outputs or value.is_graph_input():
            again = ir.node("Identity", [value])
            again.outputs[0].name = f"tapped_{len(outputs)}"
            again.outputs[0].type, again.outputs[0].shape = value.type, value.shape
            graph.append(again)
            value = again.outputs[0]
        outputs.append(value)
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    constants = [each if isinstance(each, Tensor) else None for each in (network.mean, network.std)]
    _normalise(graph, *constants)
    return copy


def _normalise(graph: ir.Graph, mean: Tensor | None, std: Tensor | None) -> None:
    """Subtract and divide before everything else."""
    (old,) = graph.inputs
    new = at = ir.Value(name=f"{old.name}_bare", type=old.type, shape=old.shape)
    nodes = list[ir.Node]()
    for op_type, tensor in (("Sub", mean), ("Div", std)):
        if tensor is not None:
            stored = constant(graph, f"front_{op_type}", tensor.detach().cpu().numpy())
            nodes.append(ir.node(op_type, [at, stored]))
            at = nodes[-1].outputs[0]
            at.name, at.type, at.shape = f"normalised_{op_type}", old.type, old.shape
    if nodes:
        put_before(graph, nodes, new, at)


def constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """A new initializer."""
    taken = {value.name for value in all_values(graph)}
    while name in taken:
        name += "_"
    value = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        shape=ir.Shape(array.shape),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value


def put_before(graph: ir.Graph, nodes: Sequence[ir.Node], new: ir.Value, made: ir.Value) -> None:
    """Take another input, `new`, of which `nodes` make `made`, what the graph took so far."""
    (old,) = graph.inputs
    ir.convenience.replace_all_uses_with(old, made)
    graph.inputs[0] = new
    for node in reversed(nodes):
        graph.insert_before(graph[0], node)
