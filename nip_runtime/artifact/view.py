"""Compares the view under which a graph's second pass looks at an input with what the manifest says of it.

A view picks, compares and averages values of the input's own row: followed back, there is nothing else in it.
That it picks the right ones, the digest of the graph says to those who trust its maker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nip_runtime.artifact.agreement import AGAIN
from nip_runtime.artifact.numbers import read_numbers, to_float32
from nip_runtime.container.infos import InitializerInfo, NodeInfo
from nip_runtime.container.reader import printable
from nip_runtime.container.wire import Buffer
from nip_runtime.errors import ArtifactError
from nip_runtime.manifest import Manifest, ViewStep

_PICKS: Final = frozenset(("Slice", "Gather"))
_COMPARES: Final = frozenset(("Min", "Max"))
_OPERATORS: Final = {
    ViewStep.MIRROR: frozenset(("Slice",)),
    ViewStep.SHIFT: frozenset(("Gather",)),
    ViewStep.MEDIAN: _PICKS | _COMPARES,
    ViewStep.BLUR: _PICKS | {"Mean"},
    ViewStep.GAIN: frozenset(("Mul",)),
    ViewStep.BITS: frozenset(("Sub", "Div", "Round", "Mul", "Add")),
}
"""What the steps of a view are made of."""
_ARITHMETIC: Final = frozenset(("Add", "Div", "Mul", "Sub"))
_MOST_NODES: Final = 256
_GAIN: Final = 0.9


def check_view(
    shown: str,
    producers: Mapping[str, NodeInfo],
    stored: Mapping[str, InitializerInfo],
    content: Buffer,
    manifest: Manifest,
) -> None:
    """Refuse a second pass that looks at anything but the manifest's view of the rows it takes.

    Args:
        shown: name of the value behind the view.
        producers: nodes by what they compute.
        stored: stored weights by name.
        content: the whole file.
        manifest: of the file.

    Raises:
        ArtifactError: at the first value that is neither the input nor made of it by the view's operators,
            or where an operator that a step needs is missing.
    """
    view = manifest.gate.view if manifest.gate is not None else ()
    allowed = frozenset[str]().union(*(_OPERATORS[step] for step in view))
    seen, waiting, used = set[str](), [shown], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name == manifest.input.name:
            continue
        seen.add(name)
        node = producers.get(name)
        if node is None or len(seen) > _MOST_NODES:
            raise _other(view, printable(name) if node is None else "a longer one")
        if node.operator == "Gather" and node.attributes.get("axis", 0) == 0:
            # The rows that take the second pass, whose numbers the graph computes: of the input itself.
            if node.inputs[:1] != (manifest.input.name,):
                raise _other(view, f"rows of {printable(', '.join(node.inputs[:1]))}")
            continue
        if node.operator not in allowed:
            raise _other(view, node.operator)
        used.add(node.operator)
        values, numbers = _parted(node)
        for number in numbers:
            _check_stored(number, stored, content, view, scales=node.operator in _ARITHMETIC)
        waiting += values
    missing = sorted(allowed - used)
    if missing:
        raise _other(view, f"none with {', '.join(missing)}")


def _parted(node: NodeInfo) -> tuple[list[str], list[str]]:
    """A node's inputs: values that the view shows, and stored numbers that say how."""
    if node.operator in _PICKS or node.operator in _ARITHMETIC:
        return list(node.inputs[:1]), list(node.inputs[1:])
    return list(node.inputs), []


def _check_stored(
    name: str,
    stored: Mapping[str, InitializerInfo],
    content: Buffer,
    view: tuple[ViewStep, ...],
    *,
    scales: bool,
) -> None:
    tensor = stored.get(name)
    wanted = "float32" if scales else "int64"
    if tensor is None or tensor.dtype != wanted:
        raise _other(view, f"one that depends on {printable(name)}")
    if scales and ViewStep.GAIN in view and read_numbers(tensor, content) != (to_float32(_GAIN),):
        raise _other(view, f"a gain of {read_numbers(tensor, content)[:1]}")


def _other(view: tuple[ViewStep, ...], got: str) -> ArtifactError:
    return ArtifactError.mismatch(
        expected=f"a second pass that looks at the input by {'+'.join(view) or 'identity'}",
        got=got,
        fix=AGAIN,
    )
