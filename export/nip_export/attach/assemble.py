"""The passes in order: a backbone goes in, a graph that defends itself comes out."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from nip_export.attach.backbone import Backbone
from nip_export.attach.gate import AnswerPass, GatePass
from nip_export.attach.readout import ReadOutPass
from nip_export.attach.reshapes import rows_axis
from nip_export.attach.response import ResponsePass
from nip_export.defence.spec import DefenceSpec
from nip_export.network import Tap
from nip_runtime.errors import ExportError
from nip_runtime.file import names
from nip_runtime.file.names import RAW_LOGITS

INFERRED = frozenset(
    (
        "Add", "AveragePool", "Clip", "Conv", "Div", "Erf", "Flatten", "Gemm", "GlobalAveragePool",
        "HardSigmoid", "HardSwish", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "MaxPool",
        "Mul", "ReduceMean", "Relu", "Sigmoid", "Softmax", "Sqrt", "Sub", "Tanh", "Transpose",
    )
)  # fmt: skip
"""Operators behind which every runtime knows how many rows there are, if it knew before."""


def attach_defence(
    backbone: Backbone, spec: DefenceSpec, taps: dict[str, Tap], *, padding_row: bool = False
) -> ir.Model:
    """Extend the backbone's graph, in place, by the defence.

    Args:
        backbone: exported with (at least) the taps of read-outs and features.
        spec: the defence.
        taps: the tapped layers by name.
        padding_row: under a screen, where it picks no row, the first one takes the second pass all the same
            and nothing is made of it: for networks that can't be run on no rows.

    Returns:
        The backbone's model with the original input, and the outputs of the contract.

    Raises:
        ExportError: a layer of the read-outs, or that of the features, is not among the taps.
    """
    values = dict(backbone.taps)
    needed = [*(readout.tap for readout in spec.readouts), spec.typicality.tap]
    missing = [tap for tap in needed if tap not in values or tap not in taps]
    if missing:
        raise ExportError(f"the backbone was exported without the taps {', '.join(missing)}")
    model = backbone.model
    output_name = backbone.logits
    backbone.value(output_name).name = RAW_LOGITS
    for step in (
        ReadOutPass(
            spec,
            {name: (value, taps[name].shape) for name, value in values.items()},
            input_name=backbone.input,
        ),
        ResponsePass(spec, input_name=backbone.input, padding_row=padding_row),
        GatePass(spec, padding_row=padding_row),
        AnswerPass(spec, output_name=output_name, padding_row=padding_row),
        common_passes.RemoveUnusedNodesPass(),
    ):
        step(model)
    drop_stated_shapes(model)
    return model


def drop_stated_shapes(model: ir.Model) -> None:
    """Leave out what the file would state about the second pass's inner values where runtimes infer it.

    In the file of a small network these statements take up more than the whole gate. Behind a reshape or a
    resize they stay: there onnxruntime loses sight of the number of rows, no longer sees that the two sides
    of a residual sum are of one shape, and brings them into one by reshapes of its own, which cost time and
    fail without rows.
    """
    for node in model.graph:
        for value in node.outputs:
            if not (value.name or "").startswith(names.SECOND_PASS) or value.name == names.SECOND_LOGITS:
                continue
            if node.op_type in INFERRED or value.shape is None or rows_axis(value) is None:
                value.shape, value.type = None, None


def plain_backbone(backbone: Backbone) -> ir.Model:
    """A copy of the backbone alone: one input, the logits, no taps."""
    model = backbone.model.clone()
    keep = [value for value in model.graph.outputs if value.name == backbone.logits]
    model.graph.outputs.clear()
    model.graph.outputs.extend(keep)
    common_passes.RemoveUnusedNodesPass()(model)
    return model
