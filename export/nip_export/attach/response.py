"""Pass 2 in the graph: the backbone on inputs under their inverse perturbation, and how the logits move."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nip_export.attach import names
from nip_export.attach.clone import clone_backbone
from nip_export.attach.editor import Dim, GraphEditor
from nip_export.spec import DefenceSpec
from nip_runtime.manifest import Policy
from nip_runtime.names import BATCH_AXIS, RAW_LOGITS


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
    """Add the second pass and the standardised shifts; under a screen, only screened rows take it.

    Args:
        spec: the defence.
        input_name: the graph's input.
    """

    def __init__(self, spec: DefenceSpec, *, input_name: str) -> None:
        super().__init__()
        self.spec = spec
        self.input_name = input_name

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators."""
        editor = GraphEditor(model.graph, scope="nip/response")
        spec, raw = self.spec, editor.value(RAW_LOGITS)
        screen = spec.gate.screen_threshold is not None
        inputs = editor.value(self.input_name)
        rows = None
        if screen:
            column = editor.constant("class_axis", [1], np.int64)
            first = editor.constant("row_axis", [0], np.int64)
            chosen = editor.op("Squeeze", [editor.value(names.SCREENED), column])
            indices = editor.op("NonZero", [chosen], dtype=ir.DataType.INT64)
            rows = editor.op("Squeeze", [indices, first], name=names.ROWS, shape=[names.SCREENED_ROWS])
            inputs = editor.op("Gather", [inputs, rows], {"axis": 0})
        moved = editor.op("Add", [inputs, perturbation(editor, spec)])
        low, high = spec.bounds
        perturbed = editor.op(
            "Clip",
            [moved, editor.constant("lowest", low), editor.constant("highest", high)],
            name="nip/perturbed",
            shape=[names.SCREENED_ROWS if screen else BATCH_AXIS, *spec.bank.shape],
        )
        copies = clone_backbone(
            model,
            source_input=self.input_name,
            outputs=[RAW_LOGITS],
            new_input=perturbed,
            prefix=names.SECOND_PASS,
        )
        # The clone stands behind the nodes the editor knows; look the graph over again.
        editor = GraphEditor(model.graph, scope="nip/shift")
        second = copies[RAW_LOGITS]
        shape: list[Dim] = [BATCH_AXIS, spec.classes]
        if rows is not None:
            places = editor.op("Unsqueeze", [rows, editor.constant("class_axis", [1], np.int64)])
            second = editor.op("ScatterND", [raw, places, second], name=names.SECOND_LOGITS, shape=shape)
        else:
            second = editor.op("Identity", [second], name=names.SECOND_LOGITS, shape=shape)
        is_predicted = editor.value(names.IS_PREDICTED)
        after, before = (editor.op("Sub", [z, editor.own(z, is_predicted)]) for z in (second, raw))
        shifts = editor.standardise(
            editor.op("Sub", [after, before]),
            spec.gate.response_scale,
            editor.value(names.PREDICTED),
            label="response",
            name=None if screen else names.SHIFTS,
        )
        if screen:
            none = editor.constant("zero", 0.0)
            editor.op(
                "Where",
                [editor.value(names.SCREENED), shifts, none],
                name=names.SHIFTS,
                dtype=ir.DataType.FLOAT,
                shape=shape,
            )
        return ir.passes.PassResult(model, modified=True)
