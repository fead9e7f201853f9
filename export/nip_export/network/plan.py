"""The layers an export looks at: where they are, and how what they return is to be read."""

from __future__ import annotations

from dataclasses import dataclass

from nip_export.network.pooling import RANK, TapKind, pooled_width
from nip_runtime.errors import ExportError


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
        return self.shape[-1] if self.kind in (TapKind.TOKENS, TapKind.MAP2D_LAST) else self.shape[0]

    def cells(self, wanted: int) -> int:
        """The number of grid cells per axis, at most `wanted`, that this activation is large enough for."""
        if self.kind is TapKind.MAP2D_LAST:
            return min(wanted, *self.shape[:2])
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
