"""The gate and the answer in the graph: score, flag and suspicion, then logits according to the policy.

All of it concerns the rows of the second pass alone; under a screen its results are then put among those
that pass 1 had for the others.
"""

from __future__ import annotations

import onnx_ir as ir

from nip_export.attach.editor import PLENTY, GraphEditor
from nip_export.attach.names import NOT_FLAGGED, ROW_FLAG, ROW_SUSPICION, SHIFTS
from nip_export.defence.decision import DISBELIEF
from nip_export.defence.spec import DefenceSpec
from nip_export.defence.statistics import LEAST_CHANGE
from nip_runtime.file import names
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import BATCH_AXIS

BOOL = ir.DataType.BOOL
FLOAT = ir.DataType.FLOAT
INT64 = ir.DataType.INT64


class GatePass(ir.passes.InPlacePass):
    """Add combined score, flag and suspicion.

    Args:
        spec: the defence.
        padding_row: whether a row may have taken the second pass that the screen did not pick.
    """

    def __init__(self, spec: DefenceSpec, *, padding_row: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.padding_row = padding_row

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators."""
        editor = GraphEditor(model.graph, scope="nip/gate")
        gate = self.spec.gate
        is_predicted = editor.row_is_predicted(self.spec.classes)
        response = editor.largest(editor.without(editor.value(SHIFTS), is_predicted))
        tests = [
            editor.curve(response, gate.response_tail, label="response_tail"),
            editor.curve(self._change(editor), gate.change_tail, label="change_tail"),
        ]
        score = editor.op("Add", [editor.taken(names.FREE_SCORE), editor.op("Add", tests)])
        threshold = editor.constant("flag_threshold", gate.flag_threshold)
        # Negated, so that NaN is flagged, as in the oracle.
        calm = editor.op("LessOrEqual", [score, threshold], dtype=BOOL)
        if self.padding_row:
            alarming = editor.op("Not", [calm])
            flag = editor.op("And", [alarming, editor.taken(names.SCREENED)], name=ROW_FLAG)
        else:
            flag = editor.op("Not", [calm], name=ROW_FLAG)
        flag = editor.column(flag)
        rank = editor.curve(score, gate.suspicion, label="suspicion")
        # Rounding must not carry the sum of the curve's steps past 1.
        suspicion = editor.column(editor.op("Min", [rank, editor.constant("one", 1.0)]), name=ROW_SUSPICION)
        if gate.screen_threshold is not None:
            # A row that does not take the second pass is not screened: where this stays, it is False.
            editor.column(editor.value(names.SCREENED), name=NOT_FLAGGED)
        for result in (
            editor.put_back(flag, NOT_FLAGGED, name=names.FLAGGED),
            editor.put_back(
                suspicion, names.CALM_SUSPICION, name=names.SUSPICION, padding_row=self.padding_row
            ),
        ):
            result.shape = ir.Shape([BATCH_AXIS])
        return ir.passes.PassResult(model, modified=True)

    def _change(self, editor: GraphEditor) -> ir.Value:
        """How far class probabilities move between the passes (rows, 1), standardised."""
        before, after = (
            editor.op("Softmax", [logits], {"axis": 1})
            for logits in (editor.taken(names.RAW_LOGITS), editor.value(names.SECOND_LOGITS))
        )
        moved = editor.op("Sub", [after, before])
        # Squares of roots, not plain sizes: what onnxruntime's ReduceSum rounds to hangs on where in the
        # batch a row stands, and OpenVINO sums ReduceL1 over all rows (openvinotoolkit/openvino issue 38238).
        root = editor.op("Sqrt", [editor.op("Abs", [moved])])
        change = editor.op("ReduceSumSquare", [root], {"axes": [1], "keepdims": 1})
        change = editor.op("Max", [change, editor.constant("least_change", LEAST_CHANGE)])
        return editor.standardise(
            change, self.spec.gate.change_scale, editor.taken(names.PREDICTED), label="change"
        )


class AnswerPass(ir.passes.InPlacePass):
    """Add the defended logits and the candidate, and make them outputs in the order of the contract.

    Args:
        spec: the defence.
        output_name: name of the defended logits.
        padding_row: whether a row may have taken the second pass that the screen did not pick.
    """

    def __init__(self, spec: DefenceSpec, *, output_name: str, padding_row: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.output_name = output_name
        self.padding_row = padding_row

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators and set the outputs."""
        editor = GraphEditor(model.graph, scope="nip/answer")
        if self.spec.policy is Policy.ALWAYS:
            candidate = editor.op("Identity", [editor.value(names.HYPOTHESIS)], name=names.CANDIDATE)
            logits = editor.op("Identity", [editor.value(names.SECOND_LOGITS)], name=self.output_name)
        else:
            weight = editor.constant("early_weight", self.spec.gate.early_weight)
            early = editor.op("Mul", [editor.taken(names.EARLY), weight])
            evidence = editor.op("Add", [early, editor.value(SHIFTS)])
            others = editor.without(evidence, editor.row_is_predicted(self.spec.classes))
            best = editor.op("ArgMax", [others], {"axis": 1, "keepdims": 0}, dtype=INT64)
            candidate = editor.put_back(
                best, names.CALM_CANDIDATE, name=names.CANDIDATE, padding_row=self.padding_row
            )
            logits = self._logits(editor, evidence)
        logits.shape = ir.Shape([BATCH_AXIS, self.spec.classes])
        candidate.shape = ir.Shape([BATCH_AXIS])
        others_out = (editor.value(name) for name in (names.RAW_LOGITS, names.SUSPICION, names.FLAGGED))
        model.graph.outputs.clear()
        model.graph.outputs.extend([logits, *others_out, candidate])
        return ir.passes.PassResult(model, modified=True)

    def _logits(self, editor: GraphEditor, evidence: ir.Value) -> ir.Value:
        if self.spec.policy is Policy.DETECT:
            return editor.op("Identity", [editor.value(names.RAW_LOGITS)], name=self.output_name)
        # The predicted class, which the gate disbelieves, stands below all others, also where there is one.
        is_predicted = editor.row_is_predicted(self.spec.classes)
        high = editor.op("Where", [is_predicted, editor.constant("plenty", PLENTY), evidence], dtype=FLOAT)
        lowest = editor.op("ReduceMin", [high], {"axes": [1], "keepdims": 1})
        floor = editor.op("Sub", [lowest, editor.constant("disbelief", DISBELIEF)])
        floored = editor.op("Where", [is_predicted, floor, evidence], dtype=FLOAT)
        corrected = editor.op("LogSoftmax", [floored], {"axis": 1})
        answered = editor.op(
            "Where", [editor.value(ROW_FLAG), corrected, editor.taken(names.RAW_LOGITS)], dtype=FLOAT
        )
        return editor.put_back(answered, names.RAW_LOGITS, name=self.output_name)
