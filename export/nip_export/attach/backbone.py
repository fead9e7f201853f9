"""The user's network as one ONNX graph: logits and tapped activations, exported once, ready to be cloned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir
import onnx_ir.passes.common as common_passes
import torch
from torch import Tensor, nn

from nip_export.attach.opset import LowerOpsetPass
from nip_export.attach.own_graph import own_graph
from nip_export.attach.reshapes import InferMissingPass, StateReshapesPass
from nip_export.attach.tidy import TidyPass
from nip_export.attach.trace import BATCH, trace
from nip_export.network.adapted import Adapted
from nip_export.network.hooks import evaluation_mode
from nip_export.network.points import resolve_points
from nip_export.network.rebuilt import OnnxNetwork
from nip_export.network.tapped import TappedNetwork, channel_constant, check_example
from nip_runtime.errors import ExportError
from nip_runtime.file.allowed import OPERATORS

IR_VERSION = 8
ROW_TOLERANCE = 1e-3
"""Relative to the logit scale: far above rounding, far below any effect of other rows."""
RANDOM_OPERATORS = frozenset(
    (
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)


@dataclass(frozen=True)
class Backbone:
    """An exported network.

    Attributes:
        model: opset 17, IR version 8, standard domain, no functions, no control flow. Its graph has one input
            and the outputs logits and taps, in that order; the batch dimension is the symbol ``N``.
        input: name of the input value, float32 (N, …), before normalisation.
        logits: name of the logits value, float32 (N, C).
        taps: per tapped layer its name in the torch model and the name of its value in the graph.
    """

    model: ir.Model
    input: str
    logits: str
    taps: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        inputs = [value.name for value in self.model.graph.inputs]
        outputs = [value.name for value in self.model.graph.outputs]
        named = [self.logits, *(value for _, value in self.taps)]
        if inputs != [self.input] or outputs != named:
            raise ExportError(f"expected a graph from {self.input!r} to {named}, got {inputs} to {outputs}")

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return self.model.opset_imports[""]

    def value(self, name: str) -> ir.Value:
        """The graph's input or output of this name."""
        for value in (*self.model.graph.inputs, *self.model.graph.outputs):
            if value.name == name:
                return value
        raise ExportError(f"the backbone has no input or output named {name!r}")


def check_outputs(network: TappedNetwork, example: Tensor) -> None:
    """Refuse models whose output is not one float32 tensor (N, C)."""
    with torch.no_grad():
        logits: object = network(example)[0]
    if not isinstance(logits, Tensor):
        raise ExportError(
            f"expected the model to return one logits tensor (N, C), got a {type(logits).__name__}"
        )
    if logits.ndim != 2 or len(logits) != len(example) or logits.dtype != torch.float32:
        raise ExportError(
            f"expected float32 logits of shape ({len(example)}, C), got {logits.dtype} {tuple(logits.shape)}"
        )


def check_rows_independent(network: TappedNetwork, example: Tensor) -> None:
    """Refuse models whose answer for one sample depends on the others in its batch.

    Servers batch the requests of strangers together, and the exported file evaluates subsets of rows.
    """
    generator = torch.Generator().manual_seed(0)
    others = torch.rand((2, *example.shape[1:]), generator=generator).to(example.device)
    with torch.no_grad():
        together = network(torch.cat((others, example[:1])))[0]
        alone = network(example[:1])[0]
    if together.shape != (3, alone.shape[1]) or alone.shape[0] != 1:
        raise ExportError(f"expected one row of logits per sample, got {len(together)} rows for 3 samples")
    difference = float((together[2:] - alone).abs().max())
    if not difference <= ROW_TOLERANCE * (1 + float(alone.abs().max())):
        raise ExportError(
            f"the logits of a sample change by {difference:.3g} with the other samples in its batch, or are "
            "NaN; use layers that treat every row alone, such as BatchNorm with running statistics"
        )


def check_operators(model: ir.Model) -> None:
    """Refuse what a plain ONNX engine may not run, or what would make answers depend on chance.

    Raises:
        ExportError: naming custom operators, control flow, functions or random operators.
    """
    custom = {f"{node.domain}::{node.op_type}" for node in model.graph if node.domain not in ("", "ai.onnx")}
    branching = {
        node.op_type
        for node in model.graph
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())
    }
    functions = {name for _, name, _ in model.functions}
    random = {node.op_type for node in model.graph} & RANDOM_OPERATORS
    rests = ", for answers must not depend on chance: in eval mode F.dropout(x, p, self.training) rests"
    for found, what, why in (
        (custom, "operators outside the standard domain", ""),
        (branching, "control flow", ""),
        (functions, "model-local functions", ""),
        (random, "random operators", rests),
    ):
        if found:
            raise ExportError(
                f"the exported graph contains {what}: {', '.join(sorted(found))}; expected none{why}"
            )


def check_profile(model: ir.Model) -> None:
    """Refuse early what the runtime would refuse in the finished file.

    Raises:
        ExportError: naming operators outside the artefact profile.
    """
    outside = {node.op_type for node in model.graph} - OPERATORS
    if outside:
        raise ExportError(
            f"the exported graph contains {', '.join(sorted(outside))}, which no defended file may have "
            "(nip_runtime.file.allowed lists what it may); express it by other layers"
        )


def check_batch_norm_folded(model: ir.Model, taps: Sequence[tuple[str, str]]) -> None:
    """Refuse taps that keep a BatchNorm from being folded: every clone would get weights of its own."""
    layer_of = {value: layer for layer, value in taps}
    for node in model.graph:
        source = node.inputs[0] if node.op_type == "BatchNormalization" else None
        producer = source.producer() if source is not None else None
        if source is None or producer is None or producer.op_type not in ("Conv", "ConvTranspose", "Gemm"):
            continue
        if source.name in layer_of and len(source.uses()) == 1:
            raise ExportError(
                f"tap {layer_of[source.name]!r} stands between a layer and its BatchNorm, which then cannot "
                "be folded; tap the BatchNorm or the activation after it"
            )


def export_backbone(
    model: nn.Module,
    example: Tensor,
    taps: Sequence[str],
    *,
    input_name: str = "input",
    output_name: str = "logits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Backbone:
    """Export a network and its tapped activations as one ONNX graph with BatchNorm folded.

    The model is exported in eval mode and gets its training flags back. Two exports of the same model have
    identical bytes.

    Args:
        model: classifier from (N, …) to logits (N, C).
        example: float32 batch (N, …), N ≥ 1, on the model's device.
        taps: names of layers whose activations become outputs; may be empty.
        input_name: name of the graph's input.
        output_name: name of the logits.
        mean: subtracted per channel (axis 1) before the model, or None.
        std: divides per channel after `mean`, or None.

    Raises:
        ExportError: unknown or unusable tap, unusable example or normalisation, a model that torch cannot
            export with a dynamic batch, rows that influence each other, or operators outside plain ONNX of
            opset 17.
    """
    example = check_example(example)
    if taps:
        resolve_points(model, taps)
    network = TappedNetwork(
        model,
        taps,
        mean=channel_constant(mean, example, name="mean"),
        std=channel_constant(std, example, name="std"),
    )
    with evaluation_mode(network):
        check_outputs(network, example)
        exported = own_graph(model, network) if isinstance(model, OnnxNetwork) else trace(network, example)
        check_operators(exported)
        check_rows_independent(network, example)
    values = tuple((name, f"tap.{name}") for name in taps)
    LowerOpsetPass()(exported)
    exported.ir_version = IR_VERSION
    for tidy in (
        StateReshapesPass(),
        InferMissingPass(),
        StateReshapesPass(),
        common_passes.RemoveUnusedNodesPass(),
        common_passes.RemoveUnusedOpsetsPass(),
        TidyPass(
            inputs=[input_name],
            outputs=[output_name, *(value for _, value in values)],
            parameter_prefix="model.network." if isinstance(model, Adapted) else "model.",
            batch=BATCH,
        ),
    ):
        tidy(exported)
    check_batch_norm_folded(exported, values)
    check_profile(exported)
    return Backbone(model=exported, input=input_name, logits=output_name, taps=values)


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
