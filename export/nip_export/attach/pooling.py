"""Pooling of a tapped activation in the graph, as :func:`nip_export.network.pool_activation` does it."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nip_export.attach.editor import GraphEditor
from nip_export.network import TapKind, cell_bounds


def pool(
    editor: GraphEditor, tap: str, activation: ir.Value, kind: TapKind, shape: tuple[int, ...], *, cells: int
) -> ir.Value:
    """Pool an activation of per-sample `shape` to (N, D) by a grid of `cells` per spatial axis.

    Equal cells are an AveragePool, which onnxruntime runs in the convolutions' own memory layout. Unequal
    ones are one product with a constant matrix: slicing and averaging every cell cost a small transformer a
    seventh of its pass.
    """
    if kind is TapKind.VECTOR:
        return activation
    if kind is TapKind.TOKENS:
        # Not ReduceMean: in onnxruntime what it rounds to hangs on whether the batch is a single row.
        channels_first = editor.op("Transpose", [activation], {"perm": [0, 2, 1]})
        return editor.op("Flatten", [editor.op("GlobalAveragePool", [channels_first])], {"axis": 1})
    if kind is TapKind.MAP2D_LAST:
        activation = editor.op("Transpose", [activation], {"perm": [0, 3, 1, 2]})
        shape = (shape[2], *shape[:2])
    channels, lengths = shape[0], shape[1:]
    if all(length % cells == 0 for length in lengths):
        kernel = [length // cells for length in lengths]
        grid = editor.op("AveragePool", [activation], {"kernel_shape": kernel, "strides": kernel})
        return editor.op("Flatten", [grid], {"axis": 1})
    flat = editor.constant(f"cells/{tap}/shape", [0, channels, math.prod(lengths)], np.int64)
    matrix = editor.constant(f"cells/{tap}/mean", cell_means(lengths, cells))
    means = editor.op("MatMul", [editor.op("Reshape", [activation, flat]), matrix])
    return editor.op("Flatten", [means], {"axis": 1})


def cell_means(lengths: tuple[int, ...], cells: int) -> NDArray[np.float32]:
    """The matrix (product of `lengths`, cells ** axes) that averages a flattened map over its grid cells.

    The mean over a box is the product of the means along its axes.
    """
    matrix: NDArray[np.float64] = np.ones((1, 1))
    for length in lengths:
        axis = np.zeros((length, cells))
        for cell, (low, high) in enumerate(cell_bounds(length, cells)):
            axis[low:high, cell] = 1 / (high - low)
        matrix = np.kron(matrix, axis).astype(np.float64)
    return matrix.astype(np.float32)
