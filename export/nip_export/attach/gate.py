"""The gate and the answer in the graph: score, flag and suspicion, then logits according to the policy."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nip_export.attach import names
from nip_export.attach.editor import NOTHING, PLENTY, Dim, GraphEditor
from nip_export.decision import DISBELIEF
from nip_export.spec import DefenceSpec
from nip_runtime.manifest import Policy
from nip_runtime.names import BATCH_AXIS, CANDIDATE, FLAGGED, RAW_LOGITS, SUSPICION

BOOL = ir.DataType.BOOL
FLOAT = ir.DataType.FLOAT


class GatePass(ir.passes.InPlacePass):
    """Add combined score, flag and suspicion."""

    def __init__(self, spec: DefenceSpec) -> None:
        super().__init__()
        self.spec = spec

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators."""
        editor = GraphEditor(model.graph, scope="nip/gate")
        gate = self.spec.gate
        screen = gate.screen_threshold is not None
        shifts, is_predicted = editor.value(names.SHIFTS), editor.value(names.IS_PREDICTED)
        response = editor.largest(editor.without(shifts, is_predicted))
        response_score = editor.curve(response, gate.response_tail, label="response_tail")
        if screen:
            zero = editor.constant("zero", 0.0)
            response_score = editor.op(
                "Where", [editor.value(names.SCREENED), response_score, zero], dtype=FLOAT
            )
        disagreement_score = editor.curve(
            editor.value(names.DISAGREEMENT), gate.disagreement_tail, label="disagreement_tail"
        )
        score = editor.op(
            "Add", [disagreement_score, response_score], name=names.SCORE, shape=[BATCH_AXIS, 1]
        )
        threshold = editor.constant("flag_threshold", gate.flag_threshold)
        calm = editor.op("LessOrEqual", [score, threshold], dtype=BOOL)
        above = editor.op("Not", [calm], name=None if screen else names.FLAG_COLUMN)
        if screen:
            editor.op("And", [above, editor.value(names.SCREENED)], name=names.FLAG_COLUMN)
        column = editor.constant("class_axis", [1], np.int64)
        editor.op("Squeeze", [editor.value(names.FLAG_COLUMN), column], name=FLAGGED, shape=[BATCH_AXIS])
        # Rounding must not carry the sum of the curve's steps past 1.
        rank = editor.curve(score, gate.suspicion, label="suspicion")
        suspicion = editor.op("Min", [rank, editor.constant("one", 1.0)])
        editor.op("Squeeze", [suspicion, column], name=SUSPICION, shape=[BATCH_AXIS])
        return ir.passes.PassResult(model, modified=True)


class AnswerPass(ir.passes.InPlacePass):
    """Add the defended logits and the candidate, and make them outputs in the order of the contract.

    Args:
        spec: the defence.
        output_name: name of the defended logits.
    """

    def __init__(self, spec: DefenceSpec, *, output_name: str) -> None:
        super().__init__()
        self.spec = spec
        self.output_name = output_name

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators and set the outputs."""
        editor = GraphEditor(model.graph, scope="nip/answer")
        shape: list[Dim] = [BATCH_AXIS, self.spec.classes]
        if self.spec.policy is Policy.ALWAYS:
            answer = editor.value(names.SECOND_LOGITS)
            candidate = editor.op("Identity", [editor.value(names.HYPOTHESIS)], name=CANDIDATE)
            logits = editor.op("Identity", [answer], name=self.output_name, shape=shape)
        else:
            is_predicted = editor.value(names.IS_PREDICTED)
            evidence = editor.op("Add", [editor.value(names.EARLY), editor.value(names.SHIFTS)])
            others = editor.op(
                "Where",
                [is_predicted, editor.constant("nothing", NOTHING), evidence],
                name=names.OTHERS,
                dtype=FLOAT,
                shape=shape,
            )
            candidate = editor.op(
                "ArgMax", [others], {"axis": 1, "keepdims": 0}, name=CANDIDATE, dtype=ir.DataType.INT64
            )
            logits = self._logits(editor, evidence, is_predicted, shape)
        candidate.shape = ir.Shape([BATCH_AXIS])
        outputs = [logits, *(editor.value(name) for name in (RAW_LOGITS, SUSPICION, FLAGGED)), candidate]
        model.graph.outputs.clear()
        model.graph.outputs.extend(outputs)
        return ir.passes.PassResult(model, modified=True)

    def _logits(
        self, editor: GraphEditor, evidence: ir.Value, is_predicted: ir.Value, shape: list[Dim]
    ) -> ir.Value:
        raw = editor.value(RAW_LOGITS)
        if self.spec.policy is Policy.DETECT:
            return editor.op("Identity", [raw], name=self.output_name, shape=shape)
        # The predicted class, which the gate disbelieves, stands below all others, also where there is one.
        high = editor.op("Where", [is_predicted, editor.constant("plenty", PLENTY), evidence], dtype=FLOAT)
        lowest = editor.op("ReduceMin", [high], {"axes": [1], "keepdims": 1})
        floor = editor.op("Sub", [lowest, editor.constant("disbelief", DISBELIEF)])
        floored = editor.op("Where", [is_predicted, floor, evidence], dtype=FLOAT)
        corrected = editor.op("LogSoftmax", [floored], {"axis": 1})
        return editor.op(
            "Where",
            [editor.value(names.FLAG_COLUMN), corrected, raw],
            name=self.output_name,
            dtype=FLOAT,
            shape=shape,
        )
