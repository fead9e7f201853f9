"""Bounds what a graph makes large out of a few stated numbers: `Expand` to 2⁴⁰ values takes 20 bytes of file.

Only numbers in the file can be bounded: the product of all that go into a size. Sizes that follow from the
input's own (concatenating a value with itself again and again) can't be told without running shape inference,
and are not: a hostile file can still ask for more memory than there is. Sign files, and limit the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import LIMITS, Limits
from nip_runtime.file.artifact.agreement import AGAIN
from nip_runtime.file.artifact.numbers import read_numbers
from nip_runtime.file.container import Container
from nip_runtime.file.container.infos import InitializerInfo, NodeInfo
from nip_runtime.file.container.reader import printable
from nip_runtime.file.container.wire import Buffer

_SIZED_BY: Final = {
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "STFT": (1, 3),
    "Tile": (1,),
}
"""Operators whose output is as large as numbers in these inputs say."""
_FIRST_ONLY: Final = frozenset({"Cast", "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Identity"})
"""Operators that only pass on numbers of their first input; the others say which."""
_MEASURES: Final = frozenset({"Shape", "Size"})
_LONGEST: Final = 256
"""Numbers in one constant that says how large something is."""


def check_growth(container: Container, content: Buffer, *, limits: Limits = LIMITS) -> None:
    """Refuse operators that would make more values per sample than the limit, as far as the file tells.

    Raises:
        ArtifactError: naming the operator.
    """
    sized = [node for node in container.nodes if node.operator in _SIZED_BY]
    if not sized:
        return
    graph = _Graph(container, content)
    for node in sized:
        made = graph.made(node)
        if not made <= limits.made_elements:
            raise ArtifactError.mismatch(
                expected=f"{node.operator} to at most {limits.made_elements} values per sample",
                got=f"{made:.3g} for {printable(next(iter(node.outputs), ''))}",
                fix=AGAIN,
            )


class _Graph:
    def __init__(self, container: Container, content: Buffer) -> None:
        self._content = content
        self._stored = {tensor.name: tensor for tensor in container.initializers}
        self._producers = {name: node for node in container.nodes for name in node.outputs if name}

    def made(self, node: NodeInfo) -> float:
        """Product of all stored numbers that say how large the node's output is."""
        product = 1.0
        places = _SIZED_BY[node.operator]
        for tensor in self._behind([node.inputs[i] for i in places if i < len(node.inputs)]):
            product *= self._size(tensor)
        return product

    def _behind(self, names: list[str]) -> Iterator[InitializerInfo]:
        """Stored numbers that go into values, each once."""
        seen, waiting = set(names), list(names)
        while waiting:
            name = waiting.pop()
            if name in self._stored:
                yield self._stored[name]
                continue
            node = self._producers.get(name)
            if node is None or node.operator in _MEASURES:
                continue
            inputs = node.inputs[:1] if node.operator in _FIRST_ONLY else node.inputs
            fresh = [given for given in inputs if given and given not in seen]
            seen.update(fresh)
            waiting += fresh

    def _size(self, tensor: InitializerInfo) -> float:
        if tensor.elements > _LONGEST:
            raise ArtifactError.mismatch(
                expected=f"sizes from at most {_LONGEST} numbers",
                got=f"{tensor.elements} in {printable(tensor.name)}",
                fix=AGAIN,
            )
        values = (abs(value) for value in read_numbers(tensor, self._content))
        return math.prod(float(value) if not value <= 1 else 1.0 for value in values)  # NaN stays NaN
