"""Which networks can't be run on no rows at all: what runtimes do then, read off the graph.

Where a screen picks no row, the second pass has none. Most operators then compute nothing; some fail, and in
onnxruntime some end the process. What is told here was tried operator by operator, at every optimisation
level, with onnxruntime 1.31; engines that fuse other operators, or none, fail in the same places.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nip_export.attach.clone import path_nodes
from nip_export.attach.reshapes import rows_axis
from nip_runtime.file.allowed import FATAL_WHEN_EMPTY

BATCH_FIRST = frozenset(
    (
        "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
        "GlobalLpPool", "GlobalMaxPool", "GridSample", "InstanceNormalization", "LRN", "LpPool", "MaxPool",
        "Resize", "SpaceToDepth",
    )
)  # fmt: skip
"""Operators that take no rows only where the rows are the first axis, as their definition has it."""


def needs_a_row(graph: ir.Graph, source: ir.Value, outputs: Sequence[ir.Value]) -> str | None:
    """The first operator between a value and others that can't be relied on without rows; None: no such one.

    Args:
        graph: with the shapes of its values, in which the number of rows is a symbol.
        source: the (N, …) input.
        outputs: what is computed from it.
    """
    for node in path_nodes(graph, source, outputs):
        if node.op_type in FATAL_WHEN_EMPTY:
            return node.op_type
        if node.op_type in BATCH_FIRST and rows_axis(node.inputs[0]) != 0:
            return node.op_type
        if node.op_type == "MatMul" and not _takes_none(node):
            return node.op_type
        if node.op_type == "Reshape" and not _states_sizes(node):
            return node.op_type
    return None


def _takes_none(node: ir.Node) -> bool:
    """Whether a product is one of those that onnxruntime computes without rows.

    It is where a matrix is multiplied from the right, unless the other side has been transposed: the two are
    then fused into an operator that can't. Or where both sides have the rows as the same leading axis. With
    rows elsewhere it divides by zero.
    """
    left, right = node.inputs
    if left is None or right is None or left.shape is None or right.shape is None:
        return False
    if len(right.shape) == 2 and all(isinstance(length, int) for length in right.shape):
        producer = left.producer()
        return len(left.shape) == 2 or producer is None or producer.op_type != "Transpose"
    axis = rows_axis(left)
    same = axis is not None and rows_axis(right) == axis and len(left.shape) == len(right.shape)
    return same and axis is not None and axis < len(left.shape) - 2


def _states_sizes(node: ir.Node) -> bool:
    """Whether a reshape asks for no size that follows from the number of values."""
    stated = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] is not None else None
    if stated is None:
        return False
    sizes = stated.numpy().reshape(-1).tolist()
    return -1 not in sizes or 0 not in sizes
