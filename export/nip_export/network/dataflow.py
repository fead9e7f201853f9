"""The way from the input to the logits, as autograd recorded it: what every path passes through."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

Value = tuple[Node, int]
"""A tensor of a forward pass: the operation that made it, and which of that one's outputs it is.

The same for a module that hands its input on, another one after every operation, in-place ones included.
"""

HEAVY = re.compile(r"conv|mm|(?<!bi)linear|rnn|lstm|gru", re.IGNORECASE)
"""Operations that mix channels by trained weights, by the name of their gradient."""
RESHAPES = re.compile(r"^(Alias|Clone|Contiguous|Flatten|Reshape|Squeeze|Unsafe|Unsqueeze|View)")
POOLING = re.compile(r"^(AdaptiveAvgPool|AvgPool|Mean|MkldnnAdaptiveAvgPool|Permute|Select|Slice|Transpose)")
"""What may stand between a layer and the classifier that reads its mean, or one of its positions."""


def value_of(tensor: Tensor) -> Value | None:
    """The value that a tensor holds now; None if no gradient reaches it."""
    if not tensor.requires_grad:
        return None
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def sources(node: Node) -> Iterator[Value]:
    """What an operation read, of that which has a gradient."""
    for source, number in node.next_functions:
        if source is not None:
            yield source, number


def shape_of(value: Value) -> tuple[int, ...]:
    """Shape of a value, batch axis included."""
    node, number = value
    return tuple(int(length) for length in node._input_metadata[number].shape)


def is_heavy(node: Node) -> bool:
    """Whether an operation mixes channels by weights, as convolutions and linear layers do."""
    return bool(HEAVY.search(node.name()))


def is_gate(node: Node) -> bool:
    """Whether an operation multiplies a map by one weight per row and channel, or per position."""
    if not node.name().startswith("Mul"):
        return False
    read = [value for value in sources(node) if not value[0].name().endswith("AccumulateGrad")]
    shapes = [shape_of(value) for value in read]
    return len(shapes) == 2 and any(
        len(shape) > 2 and len(shape) == len(other) and 1 in shape[1:] and shape != other
        for shape, other in (shapes, reversed(shapes))
    )


def without_reshapes(value: Value) -> Value:
    """The value that a chain of reshapes started from."""
    while RESHAPES.match(value[0].name()):
        before = next(sources(value[0]), None)
        if before is None:
            return value
        value = before
    return value


def before_pooling(value: Value) -> Value | None:
    """What a value is the mean, a part or another arrangement of; None if it was made in another way."""
    node = value[0]
    return next(sources(node), None) if POOLING.match(node.name()) else None


def reached_from(start: Value, end: Node) -> list[Node]:
    """Operations on a way from `start` to `end`, inputs first; empty if there is none."""
    order: list[Node] = []
    seen: set[Node] = {end}
    stack = [(end, sources(end))]
    while stack:
        node, pending = stack[-1]
        following = next(pending, None)
        if following is None:
            stack.pop()
            order.append(node)
        elif following[0] not in seen:
            seen.add(following[0])
            stack.append((following[0], sources(following[0])))
    dependent = {start[0]} & seen
    for node in order:
        if any(source in dependent for source, _ in sources(node)):
            dependent.add(node)
    return [node for node in order if node in dependent] if end in dependent else []


@dataclass(frozen=True, eq=False)
class Flow:
    """The operations between input and logits, and the values that all paths pass through.

    Attributes:
        trunk: these values in order, the input first and the logits last.
        layers: per value of the trunk, how many steps with trained weights lie before it.
        readers: per value, the operations that read it.
        segments: per operation, the position in the trunk of the first value behind it.
    """

    trunk: tuple[Value, ...]
    layers: tuple[int, ...]
    readers: Mapping[Value, tuple[Node, ...]]
    segments: Mapping[Node, int]

    @cached_property
    def positions(self) -> Mapping[Value, int]:
        """Where each value of the trunk stands in it."""
        return {value: index for index, value in enumerate(self.trunk)}

    def feeds_batch_norm(self, value: Value) -> bool:
        """Whether a layer's output is read by a BatchNorm alone, which is to be folded into the layer."""
        readers = self.readers.get(value, ())
        return is_heavy(value[0]) and len(readers) == 1 and "BatchNorm" in readers[0].name()


def find_flow(start: Value, end: Value) -> Flow | None:
    """Everything between two values; None if no gradient of `end` reaches `start`.

    A value is on the trunk if no edge of the graph, in topological order, jumps over it.
    """
    nodes = reached_from(start, end[0])
    if not nodes:
        return None
    position = {node: index for index, node in enumerate(nodes)}
    jumped = [0] * (len(nodes) + 1)
    used: dict[Node, set[int]] = defaultdict(set)
    readers: dict[Value, list[Node]] = defaultdict(list)
    used[end[0]].add(end[1])
    for node in nodes:
        for value in sources(node):
            begin = position.get(value[0])
            if begin is None:
                continue
            used[value[0]].add(value[1])
            readers[value].append(node)
            jumped[begin + 1] += 1
            jumped[position[node]] -= 1
    trunk: list[Value] = []
    layers: list[int] = []
    segments: dict[Node, int] = {}
    over = steps = 0
    heavy = False
    for index, node in enumerate(nodes):
        over += jumped[index]
        segments[node] = len(trunk)
        heavy = heavy or (index > 0 and is_heavy(node))
        if over == 0 and len(used[node]) == 1:
            # A gate such as squeeze-and-excite weighs channels: what it returns is no layer of its own.
            steps += heavy and not is_gate(node)
            heavy = False
            trunk.append((node, next(iter(used[node]))))
            layers.append(steps)
    found = {value: tuple(read) for value, read in readers.items()}
    return Flow(tuple(trunk), tuple(layers), found, segments)
