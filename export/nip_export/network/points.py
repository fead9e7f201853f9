"""Places of a network that can be tapped, by name: a layer's output, one of its calls, or its input."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from nip_export.network.adapted import unwrapped
from nip_runtime.errors import ExportError

INPUT = ":input"
CALL = "#"


@dataclass(frozen=True, eq=False)
class Point:
    """A place in a forward pass.

    Attributes:
        name: `layer`, `layer#2` (its second call), `layer:input` or `layer#2:input`.
        layer: dotted name of the module.
        module: the module.
        call: which of its calls, counted from 1; None if it must run once.
        at_input: whether its first tensor argument is meant, not its output.
    """

    name: str
    layer: str
    module: nn.Module
    call: int | None
    at_input: bool


def resolve_points(model: nn.Module, names: Sequence[str]) -> dict[str, Point]:
    """Places of `model` by name, in the order of `names`.

    A name that a layer really has means this layer, whatever it looks like.

    Raises:
        ExportError: a name is unknown (close matches are listed), repeated, or the list is empty.
    """
    modules = dict(unwrapped(model).named_modules(remove_duplicate=False))
    modules.pop("", None)
    if not names:
        raise ExportError("expected at least one layer name to tap, got none; name a layer or use 'auto'")
    found: dict[str, Point] = {}
    for name in names:
        point = _point(modules, name)
        if point is None:
            close = difflib.get_close_matches(name, modules, n=5, cutoff=0.4) or list(modules)[:5]
            raise ExportError(
                f"the model has no layer named {name!r}; close matches: {', '.join(close) or 'none'} "
                "(names are those of model.named_modules(); name:input is what a layer reads, name#2 its "
                "second call)"
            )
        if name in found:
            raise ExportError(f"layer {name!r} is tapped twice; name each layer once")
        found[name] = point
    return found


def _point(modules: dict[str, nn.Module], name: str) -> Point | None:
    if name in modules:
        return Point(name, name, modules[name], None, False)
    layer, at_input = name.removesuffix(INPUT), name.endswith(INPUT)
    if layer in modules:
        return Point(name, layer, modules[layer], None, at_input)
    layer, _, call = layer.rpartition(CALL)
    if layer in modules and call.isdecimal() and int(call) > 0:
        return Point(name, layer, modules[layer], int(call), at_input)
    return None
