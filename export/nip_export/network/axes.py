"""Which axis of an activation holds its channels: told by the layers that made it, not by its rank."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch.autograd.graph import Node

from nip_export.network.dataflow import Flow, Value, shape_of, sources

CHANNELS_FIRST = re.compile(r"Conv|BatchNorm|GroupNorm|Pool|PixelUnshuffle|PixelShuffle|Upsample")
"""Operations whose outputs have their channels in axis 1."""
CHANNELS_LAST = re.compile(r"Addmm|^Mm|LayerNorm|RmsNorm|Linear|Rnn|Lstm|Gru")
"""Operations whose outputs have them in the last axis."""
VIEWS = re.compile(r"^(Flatten|Reshape|Squeeze|Unsafe|Unsqueeze|View)")

Origin = tuple[int | None, ...]
"""Per axis of an earlier tensor, the axis of the wanted one that it became; None where it was merged."""


def channel_axis(flow: Flow, value: Value) -> int | None:
    """The axis of a value that holds channels; None if the layers before it do not tell.

    Args:
        flow: where the value lies.
        value: a tensor of at least two axes, the batch first.
    """
    rank = len(shape_of(value))
    return _search(flow, value, tuple(range(rank)), rank, set())


def _search(
    flow: Flow, value: Value, origin: Origin, rank: int, seen: set[tuple[Value, Origin]]
) -> int | None:
    """Walk towards the input until an operation says where its channels are."""
    while (value, origin) not in seen:
        seen.add((value, origin))
        told = _told_by(value[0], origin, rank)
        if told is not None:
            return told
        # At a residual sum, the trunk knows its axes better than the branch, which may have mixed tokens.
        before = sorted(sources(value[0]), key=lambda source: source not in flow.positions)
        moved = [(source, _moved(value[0], source, value, origin)) for source in before]
        ways = [(source, axes) for source, axes in moved if axes is not None and any(axes)]
        if not ways:
            return None
        for source, axes in ways[:-1]:
            found = _search(flow, source, axes, rank, seen)
            if found is not None:
                return found
        value, origin = ways[-1]
    return None


def _told_by(node: Node, origin: Origin, rank: int) -> int | None:
    """The wanted axis, if this operation has its channels in a place of its own."""
    name = node.name()
    if CHANNELS_FIRST.search(name) and len(origin) > 1:
        axis = origin[1]
    elif CHANNELS_LAST.search(name) and len(getattr(node, "_saved_normalized_shape", (1,))) == 1:
        axis = origin[-1]
    else:
        return None
    # Instance normalisation merges rows and channels: its channels are the one axis that is not seen.
    unseen = set(range(1, rank)) - set(origin)
    return axis or (next(iter(unseen)) if len(unseen) == 1 else None)


def _moved(node: Node, source: Value, value: Value, origin: Origin) -> Origin | None:
    """What the axes of `source` became, through one operation; None if that cannot be followed."""
    name, old, new = node.name(), _shape_read(source), shape_of(value)
    if name.startswith("Permute"):
        dims = [_signed(dim) % len(old) for dim in node._saved_dims]  # type: ignore[attr-defined]
        return tuple(origin[dims.index(axis)] for axis in range(len(old)))
    if name.startswith("Transpose"):
        swapped = list(origin)
        first, second = (_signed(getattr(node, f"_saved_dim{i}")) % len(old) for i in (0, 1))
        swapped[first], swapped[second] = swapped[second], swapped[first]
        return tuple(swapped)
    if VIEWS.match(name):
        return _through_view(old, new, origin)
    return origin if len(old) == len(new) else None


def _signed(number: int) -> int:
    """Autograd keeps negative axes as unsigned numbers of 64 bits."""
    return number - 2**64 if number >= 2**63 else number


def _shape_read(source: Value) -> tuple[int, ...]:
    """Shape of what an operation read, which may be a parameter."""
    if source[0].name().endswith("AccumulateGrad"):
        return tuple(source[0].variable.shape)  # type: ignore[attr-defined]
    return shape_of(source)


def _through_view(old: Sequence[int], new: Sequence[int], origin: Origin) -> Origin:
    """Axes of the same length with as many elements before them are the same axis."""
    places: dict[tuple[int, int], int] = {}
    before = 1
    for axis, length in enumerate(new):
        before *= length
        if length > 1:
            places[before, length] = axis
    moved: list[int | None] = []
    before = 1
    for length in old:
        before *= length
        place = places.get((before, length)) if length > 1 else None
        moved.append(origin[place] if place is not None else None)
    return tuple(moved)
