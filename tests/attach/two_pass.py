"""The smallest two-pass graph: the backbone on all rows, and again on rows selected by an index input."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nip_export.attach.clone import clone_backbone


def append_selected_rows(model: ir.Model) -> ir.Value:
    """Add the graph input `rows` (M,) and return the samples it selects, (M, …)."""
    graph = model.graph
    rows = ir.Value(name="rows", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["M"]))
    gather = ir.node("Gather", [graph.inputs[0], rows], attributes={"axis": 0})
    selected = gather.outputs[0]
    selected.name = "selected"
    selected.type = graph.inputs[0].type
    selected.shape = ir.Shape(["M", *(graph.inputs[0].shape or ())[1:]])
    graph.inputs.append(rows)
    graph.append(gather)
    return selected


def two_passes(model: ir.Model, outputs: Sequence[str]) -> dict[str, ir.Value]:
    """Compute `outputs` a second time on selected rows, as further graph outputs named ``pass2/…``."""
    clones = clone_backbone(
        model,
        source_input="input",
        outputs=outputs,
        new_input=append_selected_rows(model),
        prefix="pass2/",
    )
    model.graph.outputs.extend(clones.values())
    return clones
