"""Lowering a graph from opset 18, the lowest torch exports, to opset 17, the highest old servers read.

Only the operators that changed between the two are touched, and each rule restates its operator's semantics
in the older form. Whatever has no such form is refused by name, never passed on in hope.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx.defs
import onnx_ir as ir

from nip_runtime.errors import ExportError

SOURCE_OPSET = 18
TARGET_OPSET = 17

REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)


def constant_ints(value: ir.Value | None) -> list[int] | None:
    """The integers a value holds, if it is constant."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else [int(i) for i in tensor.numpy().reshape(-1)]


def input_or_none(node: ir.Node, index: int) -> ir.Value | None:
    """The input at `index`, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def axes_to_attribute(node: ir.Node) -> bool:
    """Reduce*: `axes` is an input in opset 18, an attribute in 17.

    Axes are counted from the front: for a batch of no rows onnxruntime's CPU kernel reads negative ones
    wrongly and keeps the reduced dimension.
    """
    given, data = input_or_none(node, 1), node.inputs[0]
    axes = constant_ints(given)
    if given is not None and axes is None:
        return False
    noop = node.attributes.pop("noop_with_empty_axes", None)
    if not axes and noop is not None and noop.as_int():
        return False
    node.resize_inputs(1)
    if axes and data is not None and data.shape is not None:
        axes = [axis % len(data.shape) for axis in axes]
    if axes:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)
    return True


def split_without_count(node: ir.Node) -> bool:
    """Split: opset 18 may give only the number of parts; opset 17 then needs their sizes."""
    count = node.attributes.pop("num_outputs", None)
    if count is None or input_or_none(node, 1) is not None:
        return True
    data, parts = node.inputs[0], count.as_int()
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    length = data.shape[axis] if data is not None and data.shape is not None else None
    if not isinstance(length, int):
        return False
    size = -(-length // parts)
    sizes = [size] * (parts - 1) + [length - size * (parts - 1)]
    append_constant(node, 1, np.array(sizes, np.int64))
    return True


def pad_all_axes(node: ir.Node) -> bool:
    """Pad: opset 18 may name the padded axes, and the exporter wraps around; opset 17 pads all of them."""
    mode = node.attributes.get("mode")
    if mode is not None and mode.as_string() == "wrap":
        return wrap_around(node)
    axes_value = input_or_none(node, 3)
    if axes_value is None:
        node.resize_inputs(min(len(node.inputs), 3))
        return True
    axes, pads = constant_ints(axes_value), constant_ints(input_or_none(node, 1))
    data = node.inputs[0]
    if axes is None or pads is None or data is None or data.shape is None:
        return False
    rank = len(data.shape)
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        full[axis % rank] = pads[i]
        full[rank + axis % rank] = pads[len(axes) + i]
    append_constant(node, 1, np.array(full, np.int64))
    node.resize_inputs(3)
    return True


def wrap_around(node: ir.Node) -> bool:
    """Pad around the ends, a mode since opset 19: an axis gets its end in front and its start behind."""
    given, data, result = input_or_none(node, 3), node.inputs[0], node.outputs[0]
    pads, axes = constant_ints(input_or_none(node, 1)), constant_ints(given)
    if pads is None or data is None or data.shape is None or (given is not None and axes is None):
        return False
    axes = list(range(len(data.shape))) if axes is None else [axis % len(data.shape) for axis in axes]
    wide, made = data, list[ir.Node]()
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        length = data.shape[axis]
        if not before and not after:
            continue
        if not isinstance(length, int) or not 0 <= min(before, after) <= max(before, after) <= length:
            return False
        ends = [(length - before, length), (0, after)]
        slices = [ir.node("Slice", [wide, *(_ints(node, n) for n in (*end, axis))]) for end in ends]
        left, right = (each.outputs[0] for each in slices)
        parts = [*([left] if before else []), wide, *([right] if after else [])]
        joined = ir.node("Concat", parts, {"axis": axis})
        made += [*(each for each, size in zip(slices, (before, after), strict=True) if size), joined]
        wide = joined.outputs[0]
    if not made:
        return False
    wide.type, wide.shape = result.type, result.shape
    ir.convenience.replace_nodes_and_values(owner(node), node, [node], made, [result], [wide])
    return True


def _ints(node: ir.Node, value: int) -> ir.Value:
    """A new initializer of one whole number, for nodes in the place of `node`."""
    graph = owner(node)
    name = f"const_{len(graph.initializers)}_of_{node.outputs[0].name}"
    constant = ir.val(name, const_value=ir.tensor(np.array([value], np.int64), name=name))
    graph.register_initializer(constant)
    return constant


def resize_plain(node: ir.Node) -> bool:
    """Resize: opset 17 knows neither antialiasing nor chosen axes nor aspect policies."""
    antialias = node.attributes.pop("antialias", None)
    policy = node.attributes.pop("keep_aspect_ratio_policy", None)
    stretched = policy is None or policy.as_string() == "stretch"
    return "axes" not in node.attributes and stretched and not (antialias is not None and antialias.as_int())


def scatter_older_reduction(node: ir.Node) -> bool:
    """Scatter*: the reductions "max" and "min" are new in opset 18."""
    reduction = node.attributes.get("reduction")
    return reduction is None or reduction.as_string() in {"none", "add", "mul"}


def lp_pool_plain(node: ir.Node) -> bool:
    """LpPool: dilations and ceil_mode are new in opset 18."""
    ceil_mode = node.attributes.pop("ceil_mode", None)
    dilations = node.attributes.pop("dilations", None)
    return not (ceil_mode is not None and ceil_mode.as_int()) and (
        dilations is None or set(dilations.as_ints()) == {1}
    )


def decompose_mish(node: ir.Node) -> bool:
    """Mish: x · tanh(softplus(x)), the definition of the operator."""
    (x,), (out,) = node.inputs, node.outputs
    softplus = ir.node("Softplus", [x])
    tanh = ir.node("Tanh", softplus.outputs)
    product = ir.node("Mul", [x, tanh.outputs[0]])
    for new in (softplus, tanh, product):
        new.outputs[0].type, new.outputs[0].shape = out.type, out.shape
    ir.convenience.replace_nodes_and_values(
        owner(node), node, [node], [softplus, tanh, product], [out], product.outputs
    )
    return True


RULES: dict[str, Callable[[ir.Node], bool]] = {
    **dict.fromkeys(REDUCTIONS, axes_to_attribute),
    "LpPool": lp_pool_plain,
    "Mish": decompose_mish,
    "Pad": pad_all_axes,
    "Resize": resize_plain,
    "ScatterElements": scatter_older_reduction,
    "ScatterND": scatter_older_reduction,
    "Split": split_without_count,
}


def owner(node: ir.Node) -> ir.Graph:
    """The graph that holds a node."""
    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"node {node.name!r} belongs to no graph")
    return node.graph


def append_constant(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Set an input of a node to a new initializer holding `array`."""
    value = node.outputs[0]
    name = f"{value.name}_input_{index}"
    constant = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        shape=ir.Shape(array.shape),
        const_value=ir.tensor(array, name=name),
    )
    owner(node).register_initializer(constant)
    node.resize_inputs(max(len(node.inputs), index + 1))
    node.replace_input_with(index, constant)


def schema_since(op_type: str, opset: int) -> int | None:
    """The opset in which the form of an operator current at `opset` was introduced; None if there is none."""
    try:
        return onnx.defs.get_schema(op_type, opset, "").since_version
    except onnx.defs.SchemaError:
        return None


class LowerOpsetPass(ir.passes.InPlacePass):
    """Rewrite a function-free model of opset 18 into one of opset 17 that computes the same.

    Raises:
        ExportError: operators that cannot be expressed in opset 17; all of them are named.
    """

    def requires(self, model: ir.Model) -> None:
        """The model is of opset 18 and has no functions."""
        opset = model.opset_imports.get("")
        if opset != SOURCE_OPSET or model.functions:
            raise ir.passes.PreconditionError(
                f"expected a function-free model of opset 18, got opset {opset}"
            )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Apply each changed operator's rule, then restate the opset."""
        refused: set[str] = set()
        for node in list(model.graph):
            if node.domain:
                continue
            changed = schema_since(node.op_type, TARGET_OPSET) != schema_since(node.op_type, SOURCE_OPSET)
            rule = RULES.get(node.op_type)
            if changed and (rule is None or not rule(node)):
                refused.add(node.op_type)
            node.version = None
        if refused:
            raise ExportError(
                f"the model uses operators that opset {TARGET_OPSET} cannot express as they are used here: "
                f"{', '.join(sorted(refused))}; replace the layers that need them"
            )
        model.opset_imports[""] = TARGET_OPSET
        return ir.passes.PassResult(model, modified=True)
