"""Which layers to tap: the features before the classifier and a spread of earlier layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from nip_export.network.dataflow import Value, is_heavy, shape_of, without_reshapes
from nip_export.network.execution import Call, Execution, record_execution
from nip_export.network.plan import Tap, TapPlan
from nip_export.network.points import INPUT, Point, resolve_points
from nip_export.network.structure import (
    Spot,
    classifier_name,
    classifier_position,
    earlier_steps,
    find_features,
    spot_at,
)
from nip_runtime.errors import ExportError

EARLY_LAYERS = 4
LISTED_CANDIDATES = 30


def candidates(execution: Execution) -> str:
    """The places a user can choose from, one per line."""
    found: dict[str, Spot] = {}
    for call in execution.calls:
        spot = spot_at(execution, call, call.result, at_input=False)
        if spot is not None:
            found[spot.name] = spot
    lines = [f"  {spot}" for spot in list(found.values())[-LISTED_CANDIDATES:]]
    omitted = len(found) - len(lines)
    return "\n".join(([f"  … {omitted} earlier layers"] if omitted else []) + lines) or "  none"


def spread(spots: Sequence[Spot], count: int) -> list[Spot]:
    """At most `count` of `spots`, evenly spaced, first and last included."""
    if len(spots) <= count:
        return list(spots)
    return [spots[round(i * (len(spots) - 1) / (count - 1))] for i in range(count)]


def named_spots(execution: Execution, model: nn.Module, names: Sequence[str]) -> list[Spot]:
    """The places a user named, in execution order.

    Raises:
        ExportError: a name is unknown, or its layer cannot be tapped.
    """
    chosen: list[tuple[int, Spot]] = []
    for name, point in resolve_points(model, names).items():
        calls = [call for call in execution.calls if call.module is point.module]
        problem, spot = None, None
        if point.call is None and len(calls) != 1:
            problem = f"runs {len(calls)} times in a forward pass, expected once"
            problem += f"; name a call, such as {point.layer}#2" if calls else ""
        elif point.call is not None and point.call > len(calls):
            problem = f"names call {point.call} of a layer that runs {len(calls)} times in a forward pass"
        else:
            call = calls[(point.call or 1) - 1]
            value = call.source if point.at_input else call.result
            spot = spot_at(execution, call, value, at_input=point.at_input)
            if spot is None:
                problem = unusable(execution, call, value, point)
            elif execution.flow.feeds_batch_norm(spot.value):
                problem = "is followed by a BatchNorm to be folded into it; tap that or what comes after it"
            else:
                chosen.append((call.first if point.at_input else call.index, replace(spot, name=name)))
        if problem:
            raise ExportError(f"layer {name!r} {problem}; candidates are\n{candidates(execution)}")
    return [spot for _, spot in sorted(chosen, key=lambda pair: pair[0])]


def unusable(execution: Execution, call: Call, value: Value | None, point: Point) -> str:
    """Why a place cannot be tapped."""
    does = "read" if point.at_input else "return"
    if value is None and call.tensor is not None:
        return f"does not {does} anything that a gradient from the input reaches"
    if value is None or not 2 <= len(shape_of(value)) <= 4:
        forms = "(N, C, H, W), (N, H, W, C), (N, C, T), (N, T, D) or (N, D)"
        return f"does not {does} one tensor of shape {forms}"
    if shape_of(value)[0] != execution.rows:
        rows = f"{shape_of(value)[0]} for {execution.rows} images"
        return f"does not {does} one row per image ({rows}: windows folded into the batch?)"
    return "has axes of which it cannot be told which holds the channels"


def find_taps(
    model: nn.Module,
    example: Tensor,
    *,
    taps: Literal["auto"] | Sequence[str] = "auto",
    features: str | None = None,
    classifier: str | None = None,
) -> TapPlan:
    """Choose the layers to tap by watching one forward pass, and the gradient's way back through it.

    The trunk is what every path from the input to the logits passes through: residual branches,
    squeeze-and-excite modules and one head of two are not. The features are what the last trained step before
    the logits reads, which for two heads is what both read; earlier layers are taken from the trunk before.
    Where there are none, as with one hidden layer, the plan has no early layers.

    Args:
        model: classifier from (N, …) to logits (N, C).
        example: a float batch (N, …) on the model's device; two rows are enough.
        taps: "auto", or names of layers. Of those, the last to run counts as the features if the classifier
            reads it; otherwise the features are found automatically and all named layers are early ones.
        features: name of the layer that counts as the features, instead of the one found.
        classifier: name of the layer that computes the logits, instead of the one found: its input is the
            features.

    Raises:
        ExportError: no gradient of the logits reaches the input; the classifier or its features cannot be
            found; or a named layer cannot be tapped. The message lists the layers that can.
    """
    execution = record_execution(model, example)
    check_gradient(execution)
    position = classifier_position(execution)
    found: Spot | None = None
    if features is not None or classifier is not None:
        name = features if features is not None else f"{classifier}{INPUT}"
        (found,) = named_spots(execution, model, [name])
    elif position is not None and execution.flow.layers[position] > 0:
        found = find_features(execution, execution.flow.trunk[position])
    if found is None:
        raise ExportError(no_features(execution))
    if isinstance(taps, str):
        if taps != "auto":
            raise ExportError(f"expected taps='auto' or a sequence of layer names, got {taps!r}")
        steps = earlier_steps(execution, found, wanted=EARLY_LAYERS)
        early = spread(steps, EARLY_LAYERS)
        if any(mixes_rows(execution, spot) for spot in early):
            alone = [spot for spot in steps if not mixes_rows(execution, spot)]
            early = spread(alone or steps, EARLY_LAYERS)
    else:
        early = named_spots(execution, model, taps)
        if without_reshapes(early[-1].value) == without_reshapes(found.value):
            found = early.pop()
    layers = [*early, found]
    for spot in layers:
        if mixes_rows(execution, spot):
            check_rows(execution, spot.name)
            raise ExportError(
                f"layer {spot.name!r} mixes the images of a batch; tap one that treats every row alone, out "
                f"of\n{candidates(execution)}"
            )
    return TapPlan(
        features=found.name,
        early=tuple(spot.name for spot in early),
        layers=tuple(Tap(spot.name, spot.kind, spot.shape) for spot in layers),
        classifier=classifier or classifier_name(execution, position or 0) or found.name.removesuffix(INPUT),
    )


def deep_taps(model: nn.Module, example: Tensor, *, features: str, wanted: int) -> list[Tap]:
    """At most `wanted` layers spread over the trunk before the named features, and these last.

    What the features merely pool or normalise is left out, as by :func:`find_taps`.

    Raises:
        ExportError: as :func:`find_taps`.
    """
    execution = record_execution(model, example)
    (last,) = named_spots(execution, model, [features])
    steps = spread(earlier_steps(execution, last, wanted=wanted), wanted)
    return [Tap(spot.name, spot.kind, spot.shape) for spot in (*steps, last)]


def check_gradient(execution: Execution) -> None:
    """Refuse a network whose logits do not change with its input, as autograd sees it."""
    weights = torch.randn(execution.logits.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(
        execution.logits, execution.leaf, weights.to(execution.logits), retain_graph=True
    )
    if not gradient.any():
        raise ExportError(
            "the gradient of the logits at the input is zero: the network rounds, compares or takes signs on "
            "the way, or is dead; expected one that changes, since influence is a gradient"
        )


def mixes_rows(execution: Execution, spot: Spot) -> bool:
    """Whether a row of an activation depends on other images of the batch."""
    return reaches_other_rows(execution, GradientEdge(*spot.value), shape_of(spot.value))


def reaches_other_rows(execution: Execution, value: Tensor | GradientEdge, shape: Sequence[int]) -> bool:
    """Whether the gradient of the first row of a value reaches another image than the first."""
    first = torch.zeros(tuple(shape), device=execution.leaf.device)
    first[0] = torch.randn(first[0].shape, generator=torch.Generator().manual_seed(0)).to(first)
    (gradient,) = torch.autograd.grad(value, execution.leaf, first, retain_graph=True)
    return bool(gradient[1:].any())


def check_rows(execution: Execution, layer: str) -> None:
    """Refuse a network of which the answer itself mixes the images of a batch, whatever is tapped."""
    if reaches_other_rows(execution, execution.logits, execution.logits.shape):
        raise ExportError(
            "the logits of an image change with the other images of its batch, and so does what layer "
            f"{layer!r} gives; use layers that treat every row alone, such as BatchNorm with running "
            "statistics, and means over all axes but the first"
        )


def no_features(execution: Execution) -> str:
    """Why there is no layer that the classifier reads."""
    trained = [
        call.name
        for call in execution.calls
        if call.leaf and call.result is not None and is_heavy(without_reshapes(call.result)[0])
    ]
    if len(set(trained)) <= 1:
        return (
            f"the network has no hidden layer ({', '.join(trained) or 'nothing'} reads the input itself), so "
            "there is nothing to hold against its answer; expected at least two layers before the classifier"
        )
    return (
        "cannot find the features: the input's ways through the network meet in no layer before the logits, "
        "as in an ensemble; export one member, or name the layer to read in features, or the one that "
        f"computes the logits in classifier; layers that can be tapped are\n{candidates(execution)}"
    )
