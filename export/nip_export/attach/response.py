"""Pass 2 in the graph: the backbone on a second view of inputs, perturbed or not, and how the logits move."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nip_export.attach.clone import clone_backbone
from nip_export.attach.editor import GraphEditor
from nip_export.attach.names import SHIFTS
from nip_export.attach.view import add_view
from nip_export.defence.spec import DefenceSpec
from nip_runtime.file import names
from nip_runtime.file.manifest import Policy


def perturbation(editor: GraphEditor, spec: DefenceSpec) -> ir.Value:
    """The inverse perturbation in input units: (N, *shape) by hypothesis, or (1, *shape) for all rows."""
    bank = spec.bank
    steps = editor.constant("bank", bank.steps, np.int8)
    if spec.policy is Policy.ALWAYS:
        steps = editor.op("Gather", [steps, editor.value(names.HYPOTHESIS)], {"axis": 0})
    floats = editor.op("Cast", [steps], {"to": int(ir.DataType.FLOAT)}, dtype=ir.DataType.FLOAT)
    scaled = editor.op("Mul", [floats, editor.constant("bank_step_size", bank.step_size)])
    if bank.factor == 1:
        return scaled
    scales = [1.0] * (len(bank.shape) - 1) + [float(bank.factor)] * 2
    fine = editor.op(
        "Resize",
        [scaled, None, editor.constant("bank_scales", scales)],
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    )
    covered = [length * bank.factor for length in bank.steps.shape[-2:]]
    if covered == list(bank.shape[-2:]):
        return fine
    rank = len(bank.shape) + 1
    return editor.op(
        "Slice",
        [
            fine,
            editor.constant("bank_crop_low", [0, 0], np.int64),
            editor.constant("bank_crop_high", bank.shape[-2:], np.int64),
            editor.constant("bank_crop_axes", [rank - 2, rank - 1], np.int64),
        ],
    )


class ResponsePass(ir.passes.InPlacePass):
    """Add the second pass and the standardised shifts; under a screen, on the screened rows alone.

    Args:
        spec: the defence.
        input_name: the graph's input.
        padding_row: whether a row takes the second pass where the screen picks none.
    """

    def __init__(self, spec: DefenceSpec, *, input_name: str, padding_row: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.input_name = input_name
        self.padding_row = padding_row

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators."""
        editor = GraphEditor(model.graph, scope="nip/response")
        spec = self.spec
        if spec.gate.screen_threshold is not None:
            self._rows(editor)
        moved = add_view(editor, editor.taken(self.input_name), spec.view, spec.bank.shape, spec.bounds)
        if spec.bank.adds:
            moved = editor.op("Add", [moved, perturbation(editor, spec)])
        low, high = spec.bounds
        perturbed = editor.op(
            "Clip",
            [moved, editor.constant("lowest", low), editor.constant("highest", high)],
            name=names.PERTURBED,
            shape=[editor.rows_axis, *spec.bank.shape],
        )
        clone_backbone(
            model,
            source_input=self.input_name,
            outputs=[names.RAW_LOGITS],
            new_input=perturbed,
            prefix=names.SECOND_PASS,
        )
        # The clone stands behind the nodes the editor knows; look the graph over again.
        editor = GraphEditor(model.graph, scope="nip/shift")
        predicted = editor.taken(names.PREDICTED)
        after, before = (
            editor.op("Sub", [z, editor.own(z, predicted)])
            for z in (editor.value(names.SECOND_LOGITS), editor.taken(names.RAW_LOGITS))
        )
        editor.standardise(
            editor.op("Sub", [after, before]),
            spec.gate.response_scale,
            predicted,
            label="response",
            name=SHIFTS,
        )
        return ir.passes.PassResult(model, modified=True)

    def _rows(self, editor: GraphEditor) -> None:
        """Numbers of the rows that take the second pass, (M,)."""
        # NonZero on (N, 1) gives (2, M): row numbers, then columns.
        places = editor.op("NonZero", [editor.value(names.SCREENED)], dtype=ir.DataType.INT64)
        first = editor.constant("first", 0, np.int64)
        if not self.padding_row:
            editor.op("Gather", [places, first], {"axis": 0}, name=names.ROWS, shape=[names.SCREENED_ROWS])
            return
        screened = editor.op("Gather", [places, first], {"axis": 0})
        # With the number of the first row behind them they are one too many, and cut to at least one.
        begin, least = (
            editor.constant("first_of_rows", [0], np.int64),
            editor.constant("least", [1], np.int64),
        )
        more = editor.op("Concat", [screened, begin], {"axis": 0})
        count = editor.op("Max", [editor.op("Shape", [screened], dtype=ir.DataType.INT64), least])
        editor.op("Slice", [more, begin, count], name=names.ROWS, shape=[names.SCREENED_ROWS])
