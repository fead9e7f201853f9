"""What a graph is described by: its values, weights and operators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nip_runtime.file.container.wire import Field

Attribute = int | float | bytes | tuple[int, ...] | None
"""A number, a text, whole numbers; None for anything else: a tensor, a list of floats or texts."""


@dataclass(frozen=True)
class TensorInfo:
    """A graph input or output.

    ``shape`` holds an int per fixed dimension, a name per symbolic one and None per unknown one; it is None
    where the file states no shape at all (or the value is no tensor). ``dtype`` is spelled as numpy does.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class InitializerInfo:
    """A stored weight.

    ``size_bytes`` is its payload in this file: 0 where ``external``. ``raw`` bounds it [start, stop) where it
    is stored as raw bytes, which all but a few of a quantised network's scales are. ``stored`` is the number
    of values that the payload holds, None where that can't be told from its size.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    external: bool
    raw: tuple[int, int] | None = None
    stored: float | None = None

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


class NodeInfo(NamedTuple):
    """An operator of the graph; inputs that are left out are ""."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Places:
    """Where the parts of the main graph stand in the file.

    Attributes:
        nodes: in file order, as in ``Container.nodes``.
        initializers: stored weights by name; of two with one name, the later.
        values: inputs, inner values and outputs whose type the file states, by name.
    """

    nodes: Sequence[Field]
    initializers: Mapping[str, Field]
    values: Mapping[str, Field]
