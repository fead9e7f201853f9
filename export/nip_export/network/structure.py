"""How a recorded forward pass is to be read: classifier, features, trunk, and the kind of each activation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nip_export.network.axes import channel_axis
from nip_export.network.dataflow import (
    Value,
    before_pooling,
    is_gate,
    is_heavy,
    shape_of,
    without_reshapes,
)
from nip_export.network.execution import Call, Execution
from nip_export.network.points import CALL, INPUT
from nip_export.network.pooling import TapKind

KINDS = {(3, 1): TapKind.MAP1D, (3, 2): TapKind.TOKENS, (4, 1): TapKind.MAP2D, (4, 3): TapKind.MAP2D_LAST}
"""By number of axes and the axis of the channels."""


@dataclass(frozen=True)
class Spot:
    """A place of the network that can be tapped.

    Attributes:
        name: as :mod:`nip_export.network.points` reads it.
        value: what stands there.
        kind: how its axes are to be read.
        shape: of it, per sample.
        what: class name of the layer.
        depth: number of modules around the layer that returns it.
    """

    name: str
    value: Value
    kind: TapKind
    shape: tuple[int, ...]
    what: str
    depth: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[-1] if self.kind in (TapKind.TOKENS, TapKind.MAP2D_LAST) else self.shape[0]

    def __str__(self) -> str:
        return f"{self.name} ({self.what}, ({', '.join(('N', *map(str, self.shape)))}))"


def kind_of(execution: Execution, value: Value) -> TapKind | None:
    """How to read a value; None if no tap can (rows folded with windows, axes unknown, other ranks)."""
    rows, *shape = shape_of(value)
    if rows != execution.rows or not 1 <= len(shape) <= 3:
        return None
    if len(shape) == 1:
        return TapKind.VECTOR
    axis = channel_axis(execution.flow, value)
    return KINDS.get((len(shape) + 1, axis)) if axis is not None else None


def spot_at(execution: Execution, call: Call, value: Value | None, *, at_input: bool) -> Spot | None:
    """The place where a call returns, or reads, `value`; None if it cannot be tapped."""
    if value is None or not call.name:
        return None
    if value not in execution.kinds:
        execution.kinds[value] = kind_of(execution, value)
    kind = execution.kinds[value]
    if kind is None:
        return None
    number = f"{CALL}{execution.occurrence(call)}" if execution.runs(call) > 1 else ""
    return Spot(
        name=f"{call.name}{number}{INPUT if at_input else ''}",
        value=value,
        kind=kind,
        shape=shape_of(value)[1:],
        what=type(call.module).__name__,
        depth=call.depth,
    )


def outputs_at(execution: Execution, value: Value, *, deepest: int | None = None) -> Spot | None:
    """The place where a module returns a value, up to reshapes; the best one, if several do.

    A leaf and the containers it ends return the same tensor; the leaf says best what it is, unless it also
    runs elsewhere.
    """
    calls = [
        call
        for call in execution.returned.get(without_reshapes(value), ())
        if (deepest is None or call.depth <= deepest)
        and spot_at(execution, call, call.result, at_input=False) is not None
    ]
    if not calls:
        return None
    best = min(calls, key=lambda call: (execution.runs(call) > 1, not call.leaf, call.index))
    return spot_at(execution, best, best.result, at_input=False)


def input_at(execution: Execution, value: Value) -> Spot | None:
    """The place where a layer reads a value: the first, and the innermost of modules that begin with it."""
    for call in execution.read.get(without_reshapes(value), ()):
        spot = spot_at(execution, call, call.source, at_input=True)
        if spot is not None:
            return spot
    return None


def classifier_position(execution: Execution) -> int | None:
    """Where in the trunk the classifier's input stands: before the last step with trained weights."""
    layers = execution.flow.layers
    return next((i for i in reversed(range(len(layers))) if layers[i] < layers[-1]), None)


def classifier_name(execution: Execution, position: int) -> str:
    """The layers that compute the logits from the value at `position` of the trunk; "" if unknown."""
    flow = execution.flow
    calls = [
        call
        for value, made in execution.returned.items()
        if is_heavy(value[0]) and flow.segments.get(value[0], 0) > position
        for call in made
    ]
    if not calls:
        # A function computes them: the module that reads what it is given, or what that is made of.
        made = {call.index for calls in execution.returned.values() for call in calls}
        for value in reversed(flow.trunk[: position + 1]):
            reading = execution.read.get(without_reshapes(value), ())
            calls = [call for call in reading if call.index in made]
            if calls:
                break
    innermost = [call for call in calls if not any(call.first <= other.index < call.index for other in calls)]
    return ", ".join(dict.fromkeys(call.name for call in innermost if call.name))


def find_features(execution: Execution, value: Value) -> Spot | None:
    """The place of the values that the classifier reads.

    If these are a mean or a part of what a layer returns, it is that layer. If no layer returned them, it is
    the input of the classifier, or the last place before it that can be named.
    """
    seen: Value | None = value
    while seen is not None:
        spot = outputs_at(execution, seen)
        if spot is not None and (spot.channels > 1 or math.prod(spot.shape) == 1):
            return spot
        # A single channel that is squeezed away afterwards: the classifier reads the other axis.
        seen = before_pooling(without_reshapes(seen))
    spot = input_at(execution, value)
    position = execution.flow.positions.get(value)
    while spot is None and position:
        position -= 1
        before = execution.flow.trunk[position]
        spot = outputs_at(execution, before) or input_at(execution, before)
    return spot


def earlier_steps(execution: Execution, features: Spot, *, wanted: int) -> list[Spot]:
    """The trunk's layers before the features, without those that these merely pool or normalise.

    A layer is represented by its last activation of the same shape. Layers are told apart as coarsely as
    the modules allow: the outermost stages, unless these are fewer than `wanted`.
    """
    steps: list[Spot] = []
    for depth in range(1, max((call.depth for call in execution.calls), default=0) + 1):
        found = _steps(execution, features, depth)
        if len(found) > len(steps):
            steps = found
        if len(steps) >= wanted:
            break
    return steps


def _steps(execution: Execution, features: Spot, depth: int) -> list[Spot]:
    """The same for modules within at most `depth` others."""
    flow = execution.flow
    last = flow.layers[flow.segments[features.value[0]]]
    groups: dict[int, list[Spot]] = {}
    for call in execution.calls:
        value = call.result
        position = flow.positions.get(value) if value is not None else None
        if value is None or position is None or call.depth > depth:
            continue
        if not 0 < flow.layers[position] < last or flow.feeds_batch_norm(value) or is_gate(value[0]):
            continue
        spot = outputs_at(execution, value, deepest=depth)
        if spot is not None:
            groups.setdefault(flow.layers[position], []).append(spot)
    chosen = []
    for number in sorted(groups):
        alike = [spot for spot in groups[number] if spot.shape == groups[number][0].shape]
        chosen.append(alike[-1])
    return chosen
