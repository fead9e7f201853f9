"""The user's graph as torch's exporter would write it: opset 18, float32 in, logits (N, C) out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common_passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules

from nip_export.attach.clone import path_nodes
from nip_export.attach.own_graph import constant, put_before
from nip_export.attach.reshapes import InferMissingPass, StateReshapesPass
from nip_export.attach.tidy import all_values
from nip_export.attach.trace import BATCH, exporter_silenced
from nip_export.onnx_in.interface import Interface, before_widening, dims, ending_of, interface_of
from nip_export.onnx_in.opsets import at_source_opset
from nip_export.onnx_in.reading import Source
from nip_runtime.errors import ExportError

LARGEST_FOLDED = 1 << 22
"""Elements of a constant that is computed once, here: masks and grids of positions, not copies of weights."""

LARGEST_RANK = 16
"""Length of a vector that can be a list of sizes."""
LINEAR = [rules.matmul_add_to_gemm_rule, rules.transpose_b_matmul_add_to_gemm_rule]
"""A last layer is recognised where product and bias are one operator."""


def normal_form(
    source: Source,
    *,
    output: str | int | None = None,
    shape: Sequence[int] | None = None,
    is_bgr: bool = False,
) -> tuple[ir.Model, Interface]:
    """A file's network with rows for a batch axis, channels first, and its logits as the one output.

    Constants are computed, BatchNorm is folded into the layer before it, and a last softmax or sigmoid is
    left out; everything else stays as the file has it, on the file's own weights.

    Args:
        source: the file.
        output: as for :func:`nip_export.onnx_in.interface.interface_of`; so are the following.
        shape: per sample, channels first.
        is_bgr: whether the file takes blue first.

    Raises:
        ExportError: as :func:`nip_export.onnx_in.interface.interface_of`, or the answer is not one row of
            scores per sample.
    """
    original = ir.from_proto(source.proto)
    common_passes.RemoveInitializersFromInputsPass()(original)
    interface = interface_of(source, original.graph, output=output, shape=shape, is_bgr=is_bgr)
    answered = next(value for value in original.graph.outputs if value.name == interface.output)
    logits = ending_of(before_widening(answered))[1]
    logits.type = ir.TensorType(ir.DataType.FLOAT)
    original.graph.outputs.clear()
    original.graph.outputs.append(logits)
    common_passes.RemoveUnusedNodesPass()(original)
    original.ir_version = max(original.ir_version or 0, 4)  # before it, weights had to be inputs
    with exporter_silenced():
        model = ir.from_proto(at_source_opset(source, ir.to_proto(original)))
        common_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common_passes.RemoveInitializersFromInputsPass()(model)
        _put_front(model.graph, interface)
        for value in all_values(model.graph):
            if not value.is_initializer() and not value.is_graph_input():
                value.shape = None
        if interface.rows is not None:
            # What follows from constants alone; shapes that mention the rows are still to be freed.
            optimizer.fold_constants_ir(model, onnx_shape_inference=False, should_fold=_makes_sizes)
            common_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
            _free_rows(model.graph, interface.rows)
        optimizer.optimize_ir(model, output_size_limit=LARGEST_FOLDED)
        interface = _put_back(source, model, interface)
        for tidy in (StateReshapesPass(), InferMissingPass(), StateReshapesPass()):
            tidy(model)
        _refuse_half(source, model.graph)
        rewriter.rewrite(model, LINEAR)
    return model, interface


def _refuse_half(source: Source, graph: ir.Graph) -> None:
    """Refuse a network that computes in half precision: engines round that each in its own way."""
    halves = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    for node in graph:
        for value in node.outputs:
            if value.dtype in halves and value.dtype is not None:
                raise ExportError(
                    f"{source.name} computes in half precision ({node.op_type} in "
                    f"{value.dtype.name.lower()}), expected float32; export it anew "
                    "in that, and --precision fp16 halves the result"
                )


def _makes_sizes(node: ir.Node) -> bool | None:
    """True for a vector of sizes made of one number, which the optimiser would leave; None: as it likes."""
    if node.op_type != "ConstantOfShape" or node.inputs[0] is None:
        return None
    stored = ir.convenience.get_const_tensor(node.inputs[0])
    return True if stored is not None and stored.numpy().prod() <= LARGEST_RANK else None


def _free_rows(graph: ir.Graph, rows: int) -> None:
    """Let what states the number of rows, where the file has a fixed one, take any number."""
    (taken,) = graph.inputs
    made: dict[tuple[int, ...], ir.Value] = {}
    for node in path_nodes(graph, taken, list(graph.outputs)):
        if node.op_type == "Reshape" and node.inputs[1] is not None:
            stated = ir.convenience.get_const_tensor(node.inputs[1])
            sizes = None if stated is None else [int(size) for size in stated.numpy().reshape(-1)]
            if not sizes or sizes[0] != rows:
                continue
            free = (0 if -1 in sizes[1:] else -1, *sizes[1:])
            if free not in made:
                made[free] = constant(graph, f"rows_{len(made)}", np.array(free, np.int64))
            node.replace_input_with(1, made[free])
        elif node.op_type == "Concat" and node.attributes["axis"].as_int() != 0:
            _repeat_stored(graph, node, rows)


def _repeat_stored(graph: ir.Graph, node: ir.Node, rows: int) -> None:
    """Repeat what a file has stored as often as its rows, such as a class token, for every row there is."""
    for index, value in enumerate(node.inputs):
        stored = None if value is None else ir.convenience.get_const_tensor(value)
        array = None if stored is None else stored.numpy()
        if array is None or not array.ndim or len(array) != rows or (array != array[:1]).any():
            continue
        one = constant(graph, f"row_{node.outputs[0].name}_{index}", np.array(array[:1]))
        ones = constant(graph, f"ones_{node.outputs[0].name}_{index}", np.ones(array.ndim - 1, np.int64))
        count = ir.node("Shape", [graph.inputs[0]], {"start": 0, "end": 1})
        sizes = ir.node("Concat", [count.outputs[0], ones], {"axis": 0})
        repeated = ir.node("Expand", [one, sizes.outputs[0]])
        graph.insert_before(node, [count, sizes, repeated])
        node.replace_input_with(index, repeated.outputs[0])


def _put_front(graph: ir.Graph, interface: Interface) -> None:
    """Take float32 (N, *shape), channels first, whatever the file took."""
    (old,) = graph.inputs
    new = ir.Value(
        name=old.name,
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape([ir.SymbolicDim(BATCH), *interface.shape]),
    )
    at, nodes = new, list[ir.Node]()

    def step(op_type: str, inputs: Sequence[ir.Value], **attributes: int | Sequence[int]) -> ir.Value:
        nodes.append(ir.node(op_type, inputs, attributes))
        made = nodes[-1].outputs[0]
        made.name, made.type = f"front_{len(nodes)}", ir.TensorType(ir.DataType.FLOAT)
        return made

    if interface.is_uint8:
        at = step("Mul", [at, constant(graph, "full_scale", np.array(255, np.float32))])
    if interface.is_bgr:
        at = step("Gather", [at, constant(graph, "blue_first", np.array([2, 1, 0], np.int64))], axis=1)
    if interface.channels_last:
        at = step("Transpose", [at], perm=[0, 2, 3, 1])
    put_before(graph, nodes, new, at)


def _put_back(source: Source, model: ir.Model, interface: Interface) -> Interface:
    """Answer with (N, C): axes of length 1 are dropped, and one score z becomes (−z, z)."""
    InferMissingPass()(model)
    graph = model.graph
    (scores,) = graph.outputs
    lengths = dims(scores)
    inner = [length for length in lengths[1:] if length != 1]
    rowless = len(lengths) == 1 and lengths[0] is not None
    if not lengths or rowless or len(inner) > 1 or None in inner:
        got = ", ".join("?" if length is None else str(length) for length in lengths)
        raise ExportError(
            f"{source.name} answers with {interface.output!r} of shape ({got}), expected one score per "
            "class for every row, (N, C); it may be no classifier"
        )
    binary = not inner
    if len(lengths) == 2 and not binary:
        return interface
    width = 1 if binary else inner[0]
    flat = ir.node("Reshape", [scores, constant(graph, "per_class", np.array([-1, width], np.int64))])
    made, result = [flat], flat.outputs[0]
    if binary:
        other = ir.node("Neg", [result])
        made += [other, ir.node("Concat", [other.outputs[0], result], {"axis": 1})]
        result = made[-1].outputs[0]
    for index, node in enumerate(made):
        node.outputs[0].name = f"per_class_{index}"
        graph.append(node)
    result.type = ir.TensorType(ir.DataType.FLOAT)
    result.shape = ir.Shape([ir.SymbolicDim(BATCH), 2 if binary else width])
    graph.outputs[0] = result
    return replace(interface, binary=binary)
