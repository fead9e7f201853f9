"""A float32 backbone in, the same network in other arithmetic out, still a backbone that can be cloned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common_passes
import onnxruntime
from numpy.typing import NDArray

from nip_export.attach.backbone import Backbone, check_operators
from nip_export.attach.writing import serialise
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Precision

LARGEST_FLOAT16 = 32752.0
"""Half of the largest float16: other images than those looked at may reach further."""
RANGE_CHECKED = 32
"""Inputs whose activations are looked at, all of them at once."""


def convert_backbone(backbone: Backbone, precision: Precision, inputs: NDArray[np.float32]) -> Backbone:
    """Convert a backbone, its taps included; inputs, logits and taps stay float32 values of the same names.

    Args:
        backbone: in float32, as exported; it stays as it is.
        precision: what to convert to.
        inputs: (N, *shape) float32 benign inputs, N ≥ 1: int8 ranges are measured on them, and whether some
            of them exceed what float16 holds.

    Raises:
        ExportError: activations exceed float16, the converter fails, or it leaves something that a plain ONNX
            engine of the backbone's opset does not run.
    """
    if precision is Precision.FP32:
        return backbone
    if precision is Precision.FP16:
        check_range(backbone, inputs[:: -(-len(inputs) // RANGE_CHECKED)])
    source = ir.to_proto(backbone.model)
    # Loaded on demand: an fp32 export need not wait for onnxruntime's tools, which also add to sys.path.
    try:
        if precision is Precision.FP16:
            from nip_export.precision.fp16 import halved

            converted = halved(source)
        else:
            from nip_export.precision.int8 import quantised

            converted = quantised(source, backbone.input, inputs)
    except Exception as error:  # whatever two large converters may raise
        raise ExportError(
            f"precision: the model cannot be converted to {precision}: {type(error).__name__}: {error}; "
            "export it as fp32"
        ) from error
    return replace(backbone, model=tidied(converted, backbone))


def check_range(backbone: Backbone, inputs: NDArray[np.float32]) -> None:
    """Refuse a network with activations that float16 cannot hold.

    Running the converted network would not show it: onnxruntime's CPU provider keeps most of them in float32.

    Raises:
        ExportError: naming the largest.
    """
    model = backbone.model.clone()
    inner = [node.outputs[0] for node in model.graph if node.outputs[0].dtype in (None, ir.DataType.FLOAT)]
    known = set(model.graph.outputs)
    model.graph.outputs.extend(value for value in inner if value not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(serialise(model), options, providers=["CPUExecutionProvider"])
    values = session.run(None, {backbone.input: np.ascontiguousarray(inputs)})
    largest = max(float(np.abs(value).max()) for value in values)
    if not largest <= LARGEST_FLOAT16:
        raise ExportError(
            f"precision: activations of the model reach {largest:.3g} on benign images, expected at most "
            f"{LARGEST_FLOAT16:g} for fp16, half of what float16 holds; export it as fp32"
        )


def tidied(converted: onnx.ModelProto, original: Backbone) -> ir.Model:
    """A converter's result as the rest of the export expects a backbone.

    Raises:
        ExportError: it needs another opset, or operators outside the standard domain.
    """
    # Stated types and shapes of inner values are those of before; engines infer them from the graph's ends.
    del converted.graph.value_info[:]
    model = ir.from_proto(converted)
    for step in (
        common_passes.RemoveUnusedNodesPass(),
        common_passes.RemoveUnusedOpsetsPass(),
        common_passes.TopologicalSortPass(),
    ):
        step(model)
    check_operators(model)
    opset = model.opset_imports.get("", 0)
    if opset > original.opset:
        raise ExportError(f"precision: the converter wrote opset {opset}, expected {original.opset}")
    model.ir_version = original.model.ir_version
    # What differs from machine to machine and run to run.
    model.producer_name, model.producer_version = (
        original.model.producer_name,
        original.model.producer_version,
    )
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.name, model.doc_string, model.graph.doc_string = original.model.graph.name, None, None
    return model
