"""Reshapes that state every size but the number of rows, so that they also fit no rows at all.

The exporter writes what it finds: group normalisation asks for (0, groups, −1), "as many rows as there are,
and whatever is left". Of an empty batch nothing is left, and runtimes refuse to divide it. The graph knows
what −1 stands for, so it says it, and −1 stands for the rows: any number, none included.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from nip_export.attach.tidy import all_values


def rows_axis(value: ir.Value | None) -> int | None:
    """The one axis of a value whose length is no number, or None where there is not exactly one."""
    if value is None or value.shape is None:
        return None
    free = [axis for axis, length in enumerate(value.shape) if not isinstance(length, int)]
    return free[0] if len(free) == 1 else None


Sizes: TypeAlias = "list[int | ir.SymbolicDim]"


def sizes_in(value: ir.Value | None) -> Sizes | None:
    """The whole numbers of a vector that shapes are put together in, as far as the graph's shapes tell them.

    Norms ask for the shape of another value, attention for lengths picked out of such a one.
    """
    if value is None:
        return None
    stored = ir.convenience.get_const_tensor(value)
    if stored is not None:
        return [int(size) if size >= 0 else ir.SymbolicDim(None) for size in stored.numpy().reshape(-1)]
    node = value.producer()
    if node is None or node.domain:
        return None
    match node.op_type:
        case "Shape":
            measured = node.inputs[0]
            if measured is None or measured.shape is None:
                return None
            start, end = (node.attributes.get(name) for name in ("start", "end"))
            cut = slice(None if start is None else start.as_int(), None if end is None else end.as_int())
            return list(measured.shape)[cut]
        case "Concat":
            parts = [sizes_in(part) for part in node.inputs]
            return None if None in parts else [size for part in parts if part is not None for size in part]
        case "Slice":
            whole, bounds = sizes_in(node.inputs[0]), [_stored(given) for given in node.inputs[1:]]
            if whole is None or None in bounds or bounds[3:] not in ([], [[1]]):
                return None
            (start_at,), (stop_at,) = (bound or [0] for bound in bounds[:2])
            return whole[start_at:stop_at]
        case "Cast" | "Identity":
            return sizes_in(node.inputs[0])
    return None


def _stored(value: ir.Value | None) -> list[int] | None:
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else [int(number) for number in tensor.numpy().reshape(-1)]


class StateReshapesPass(ir.passes.InPlacePass):
    """Give reshapes whose result has one axis of unknown length a constant shape with −1 there alone."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place; reshapes that say so already stay as they are."""
        graph, modified = model.graph, False
        made: dict[tuple[int, ...], ir.Value] = {}
        for node in graph:
            if node.op_type != "Reshape" or node.domain:
                continue
            result = node.outputs[0]
            asked = sizes_in(node.inputs[1])
            if asked is not None and 0 not in asked and rows_axis(result) is None:
                result.shape = ir.Shape(asked)
            axis = rows_axis(result)
            if axis is None or result.shape is None:
                continue
            sizes = [length if isinstance(length, int) else -1 for length in result.shape]
            stated = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] is not None else None
            if 0 in sizes or (stated is not None and stated.numpy().tolist() == sizes):
                continue
            key = tuple(sizes)
            if key not in made:
                made[key] = self._constant(graph, sizes)
            node.replace_input_with(1, made[key])
            node.attributes.pop("allowzero", None)
            modified = True
        return ir.passes.PassResult(model, modified)

    def _constant(self, graph: ir.Graph, sizes: list[int]) -> ir.Value:
        array = np.array(sizes, np.int64)
        name = f"const_{len(graph.initializers)}_reshape"  # one that is made up: it gets its own in the end
        value = ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType.INT64),
            shape=ir.Shape(array.shape),
            const_value=ir.tensor(array, name=name),
        )
        graph.register_initializer(value)
        return value


class InferMissingPass(ir.passes.InPlacePass):
    """Find out the shapes that the exporter left open, now that reshapes state theirs; keep those it gave."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Infer in place."""
        values = all_values(model.graph)
        given = [
            (value, value.shape) for value in values if value.shape is not None and not _open(value.shape)
        ]
        if len(given) == len(values):
            return ir.passes.PassResult(model, modified=False)
        infer = common_passes.ShapeInferencePass(check_type=False, strict_mode=False)
        modified = infer(model).modified
        for value, shape in given:
            value.shape = shape
        # Symbols that inference makes up say nothing, and would be two lengths in the two passes of a file.
        known = {length for _, shape in given for length in shape}
        kept = {value for value, _ in given}
        for value in values:
            if value.shape is not None and value not in kept:
                value.shape = ir.Shape(
                    [each if isinstance(each, int) or each in known else None for each in value.shape]
                )
        return ir.passes.PassResult(model, modified)


def _open(shape: ir.Shape) -> bool:
    """Whether a shape leaves a length open without a symbol."""
    return any(isinstance(length, ir.SymbolicDim) and length.value is None for length in shape)
