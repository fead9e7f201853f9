"""Which layers to tap: the features before the classifier and a spread of earlier layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from nip_export.capture.execution import Call, Execution, record_execution
from nip_export.capture.hooks import resolve_layers
from nip_export.capture.pooling import RANK, TapKind, pooled_width
from nip_export.capture.structure import (
    NORMS,
    find_classifier,
    find_features,
    followed_by_batch_norm,
    kind_of,
    trunk,
)
from nip_runtime.errors import ExportError

EARLY_LAYERS = 4
LISTED_CANDIDATES = 30


@dataclass(frozen=True)
class Tap:
    """A tapped layer.

    Attributes:
        name: dotted name as in `model.named_modules()`.
        kind: how the axes of its activation are to be read.
        shape: per-sample shape of the activation, without N.
    """

    name: str
    kind: TapKind
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) + 1 != RANK[self.kind] or min(self.shape) < 1:
            raise ExportError(
                f"tap {self.name!r}: expected {RANK[self.kind] - 1} positive dimensions per sample for kind "
                f"{self.kind.value!r}, got {self.shape}"
            )

    @property
    def channels(self) -> int:
        """Number of channels C of a map, or width D of tokens and vectors."""
        return self.shape[1] if self.kind is TapKind.TOKENS else self.shape[0]

    def cells(self, wanted: int) -> int:
        """The number of grid cells per axis, at most `wanted`, that this activation is large enough for."""
        return min(wanted, *self.shape[1:]) if self.kind in (TapKind.MAP2D, TapKind.MAP1D) else 1

    def width(self, *, cells: int) -> int:
        """Length of the vector that `pool_activation` makes of the activation of one sample."""
        return pooled_width(self.kind, self.shape, cells=cells)


@dataclass(frozen=True)
class TapPlan:
    """The layers an export looks at.

    Attributes:
        features: name of the layer that feeds the classifier.
        early: names of earlier layers, in execution order.
        layers: the same layers with kind and shape, in execution order; the features come last.
        classifier: name of the layer that computes the logits.
    """

    features: str
    early: tuple[str, ...]
    layers: tuple[Tap, ...]
    classifier: str

    def __post_init__(self) -> None:
        names = (*self.early, self.features)
        if tuple(tap.name for tap in self.layers) != names or len(set(names)) != len(names):
            raise ExportError(
                f"expected one layer per tap of {names}, got {[tap.name for tap in self.layers]}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """All tapped layers in execution order, features last."""
        return (*self.early, self.features)

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Per tapped layer its name and per-sample activation shape."""
        return tuple((tap.name, tap.shape) for tap in self.layers)

    def tap(self, name: str) -> Tap:
        """The tap of this name."""
        for tap in self.layers:
            if tap.name == name:
                return tap
        raise ExportError(f"layer {name!r} is not tapped; tapped are {', '.join(self.names)}")


def candidates(execution: Execution) -> str:
    """The layers a user can choose from, one per line."""
    usable = [
        call
        for call in execution.calls
        if call.name and kind_of(execution, call) is not None and execution.runs_once(call)
    ]
    lines = [f"  {call}" for call in usable[-LISTED_CANDIDATES:]]
    omitted = len(usable) - len(lines)
    return "\n".join(([f"  … {omitted} earlier layers"] if omitted else []) + lines) or "  none"


def spread(calls: Sequence[Call], count: int) -> list[Call]:
    """At most `count` of `calls`, evenly spaced, first and last included."""
    if len(calls) <= count:
        return list(calls)
    return [calls[round(i * (len(calls) - 1) / (count - 1))] for i in range(count)]


def earlier_layers(execution: Execution, features: Call) -> list[Call]:
    """A spread over the trunk before the features, without steps that these merely pool or normalise."""
    light = isinstance(features.module, NORMS) or next(features.module.parameters(), None) is None
    steps = [
        step
        for step in trunk(execution, features.index)
        if step.result != features.result and not (light and step.result == features.source)
    ]
    return spread(steps, EARLY_LAYERS)


def named_layers(execution: Execution, model: nn.Module, names: Sequence[str]) -> list[Call]:
    """The calls of the layers a user named, in execution order.

    Raises:
        ExportError: a name is unknown, or its layer cannot be tapped.
    """
    chosen = []
    for name, module in resolve_layers(model, names).items():
        calls = [call for call in execution.calls if call.module is module]
        problem = None
        if len(calls) != 1:
            problem = f"runs {len(calls)} times in a forward pass, expected once"
        elif kind_of(execution, calls[0]) is None:
            problem = "does not return one tensor of shape (N, C, H, W), (N, C, T), (N, T, D) or (N, D)"
        elif followed_by_batch_norm(execution, calls[0]):
            problem = "is followed by a BatchNorm to be folded into it; tap that or the activation after it"
        if problem:
            raise ExportError(f"layer {name!r} {problem}; candidates are\n{candidates(execution)}")
        chosen.append(calls[0])
    return sorted(chosen, key=lambda call: call.index)


def find_taps(
    model: nn.Module, example: Tensor, *, taps: Literal["auto"] | Sequence[str] = "auto"
) -> TapPlan:
    """Choose the layers to tap by watching one forward pass.

    Args:
        model: classifier from (N, …) to logits (N, C).
        example: a float batch (N, …) on the model's device; two rows are enough.
        taps: "auto", or names of layers. Of those, the last to run counts as the features if the classifier
            reads it; otherwise the features are found automatically and all named layers are early ones.

    Raises:
        ExportError: the classifier, its features or an earlier layer cannot be found, or a named layer cannot
            be tapped. The message lists the layers that can.
    """
    execution = record_execution(model, example)
    classifier = find_classifier(execution)
    features = find_features(execution, classifier) if classifier is not None else None
    if classifier is None or features is None:
        missing = (
            f"the classifier: the last trained layer is no linear layer with {execution.classes} outputs"
            if classifier is None
            else f"a layer before the classifier {classifier.name!r}"
        )
        raise ExportError(f"cannot find {missing}; layers that can be tapped are\n{candidates(execution)}")
    if isinstance(taps, str):
        if taps != "auto":
            raise ExportError(f"expected taps='auto' or a sequence of layer names, got {taps!r}")
        early = earlier_layers(execution, features)
        if not early:
            raise ExportError(
                f"cannot find a layer before the features {features.name!r}; name some in taps, out of\n"
                f"{candidates(execution)}"
            )
    else:
        early = named_layers(execution, model, taps)
        if early[-1].result == features.result:
            features = early.pop()
    layers = [*early, features]
    return TapPlan(
        features=features.name,
        early=tuple(call.name for call in early),
        layers=tuple(as_tap(execution, call) for call in layers),
        classifier=classifier.name,
    )


def as_tap(execution: Execution, call: Call) -> Tap:
    """The tap that a call stands for."""
    kind = kind_of(execution, call)
    if kind is None:
        raise ExportError(f"{call} cannot be tapped; candidates are\n{candidates(execution)}")
    return Tap(name=call.name, kind=kind, shape=call.shape)
