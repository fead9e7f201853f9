"""A float32 backbone in, the same network in other arithmetic out, still a backbone that can be cloned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common_passes
from numpy.typing import NDArray

from nip_export.attach.backbone import Backbone, check_operators
from nip_export.precision.fp16 import halved
from nip_export.precision.int8 import quantised
from nip_runtime.errors import ExportError
from nip_runtime.manifest import Precision


def convert_backbone(backbone: Backbone, precision: Precision, inputs: NDArray[np.float32]) -> Backbone:
    """Convert a backbone, its taps included; inputs, logits and taps stay float32 values of the same names.

    Args:
        backbone: in float32, as exported; it stays as it is.
        precision: what to convert to.
        inputs: (N, *shape) float32 benign inputs, N ≥ 1, that int8 ranges are measured on; fp16 has no use
            for them.

    Raises:
        ExportError: the converter fails, or leaves something that a plain ONNX engine of the backbone's
            opset does not run.
    """
    if precision is Precision.FP32:
        return backbone
    source = ir.to_proto(backbone.model)
    try:
        converted = (
            halved(source) if precision is Precision.FP16 else quantised(source, backbone.input, inputs)
        )
    except Exception as error:  # whatever two large converters may raise
        raise ExportError(
            f"precision: the model cannot be converted to {precision}: {type(error).__name__}: {error}; "
            "export it as fp32"
        ) from error
    return replace(backbone, model=tidied(converted, backbone))


def tidied(converted: onnx.ModelProto, original: Backbone) -> ir.Model:
    """A converter's result as the rest of the export expects a backbone.

    Raises:
        ExportError: it needs another opset, or operators outside the standard domain.
    """
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


def with_taps(backbone: Backbone, taps: Sequence[str]) -> Backbone:
    """A copy of the backbone that only has some of its taps.

    Raises:
        ExportError: it never had one of them.
    """
    named = dict(backbone.taps)
    missing = [name for name in taps if name not in named]
    if missing:
        raise ExportError(f"the backbone was exported without the taps {', '.join(missing)}")
    model = backbone.model.clone()
    wanted = [backbone.logits, *(named[name] for name in taps)]
    outputs = {value.name: value for value in model.graph.outputs}
    model.graph.outputs.clear()
    model.graph.outputs.extend([outputs[name] for name in wanted])
    common_passes.RemoveUnusedNodesPass()(model)
    return replace(backbone, model=model, taps=tuple((name, named[name]) for name in taps))
