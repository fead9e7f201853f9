"""Pass 1's read-out in the graph: what the early layers make of the input, and whether they disagree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from nip_export.attach import names
from nip_export.attach.editor import Dim, GraphEditor
from nip_export.capture import TapKind, cell_bounds
from nip_export.spec import DefenceSpec, ReadOut
from nip_runtime.names import BATCH_AXIS, RAW_LOGITS


def pool(editor: GraphEditor, activation: ir.Value, readout: ReadOut, shape: tuple[int, ...]) -> ir.Value:
    """Pool an activation of per-sample `shape` to (N, D), as `nip_export.capture.pool_activation` does."""
    if readout.kind is TapKind.VECTOR:
        return activation
    if readout.kind is TapKind.TOKENS:
        return editor.op("ReduceMean", [activation], {"axes": [1], "keepdims": 0})
    lengths, cells = shape[1:], readout.cells
    if all(length % cells == 0 for length in lengths):
        kernel = [length // cells for length in lengths]
        grid = editor.op("AveragePool", [activation], {"kernel_shape": kernel, "strides": kernel})
        return editor.op("Flatten", [grid], {"axis": 1})
    pooled = activation
    for axis, length in enumerate(
        lengths, start=2
    ):  # one axis after the other: the mean of a box is separable
        parts = []
        for index, (low, high) in enumerate(cell_bounds(length, cells)):
            bounds = [
                editor.constant(f"cells/{readout.tap}/{axis}/{index}/{end}", [at], np.int64)
                for end, at in (("low", low), ("high", high), ("axis", axis))
            ]
            part = editor.op("Slice", [pooled, *bounds])
            parts.append(editor.op("ReduceMean", [part], {"axes": [axis], "keepdims": 1}))
        pooled = editor.op("Concat", parts, {"axis": axis}) if len(parts) > 1 else parts[0]
    return editor.op("Flatten", [pooled], {"axis": 1})


class ReadOutPass(ir.passes.InPlacePass):
    """Add predicted class, early evidence, hypothesis, disagreement and screen.

    Needs the raw logits and the read-outs' tapped activations in the graph.

    Args:
        spec: the defence.
        taps: per layer the name of its value and its per-sample shape.
    """

    def __init__(self, spec: DefenceSpec, taps: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        super().__init__()
        self.spec = spec
        self.taps = taps

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators."""
        editor = GraphEditor(model.graph, scope="nip/readout")
        gate, classes = self.spec.gate, self.spec.classes
        raw = editor.value(RAW_LOGITS)
        predicted = editor.op(
            "ArgMax",
            [raw],
            {"axis": 1, "keepdims": 1},
            name=names.PREDICTED,
            dtype=ir.DataType.INT64,
            shape=[BATCH_AXIS, 1],
        )
        columns = editor.constant("classes", np.arange(classes)[None], np.int64)
        is_predicted = editor.op(
            "Equal",
            [columns, predicted],
            name=names.IS_PREDICTED,
            dtype=ir.DataType.BOOL,
            shape=[BATCH_AXIS, classes],
        )
        early = self._evidence(editor)
        editor.op(
            "ArgMax",
            [early],
            {"axis": 1, "keepdims": 0},
            name=names.HYPOTHESIS,
            dtype=ir.DataType.INT64,
            shape=[BATCH_AXIS],
        )
        best = editor.largest(editor.without(early, is_predicted))
        distance = editor.op("Sub", [best, editor.own(early, is_predicted)])
        disagreement = editor.standardise(
            distance,
            gate.disagreement_scale,
            predicted,
            label="disagreement",
            name=names.DISAGREEMENT,
        )
        if gate.screen_threshold is not None:
            # Negated, so that NaN takes the second pass, as in the oracle.
            threshold = editor.constant("screen_threshold", gate.screen_threshold)
            calm = editor.op("LessOrEqual", [disagreement, threshold], dtype=ir.DataType.BOOL)
            editor.op("Not", [calm], name=names.SCREENED, shape=[BATCH_AXIS, 1])
        return ir.passes.PassResult(model, modified=True)

    def _evidence(self, editor: GraphEditor) -> ir.Value:
        opinions = []
        for readout in self.spec.readouts:
            value, shape = self.taps[readout.tap]
            pooled = pool(editor, editor.value(value), readout, shape)
            weight = editor.constant(f"readout/{readout.tap}/weight", readout.weight)
            bias = editor.constant(f"readout/{readout.tap}/bias", readout.bias)
            scores = editor.op("Gemm", [pooled, weight, bias])
            opinions.append(editor.op("LogSoftmax", [scores], {"axis": 1}))
        logits_shape: list[Dim] = [BATCH_AXIS, self.spec.classes]
        if len(opinions) == 1:
            return editor.op("Identity", opinions, name=names.EARLY, shape=logits_shape)
        return editor.op("Mean", opinions, name=names.EARLY, shape=logits_shape)
