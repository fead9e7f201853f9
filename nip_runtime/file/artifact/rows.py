"""Compares the rows that take a graph's second pass with what the manifest says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact.agreement import AGAIN
from nip_runtime.file.artifact.numbers import read_numbers
from nip_runtime.file.container.infos import InitializerInfo, NodeInfo
from nip_runtime.file.container.reader import printable
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.manifest import Manifest
from nip_runtime.file.names import ROWS, SCREENED

_PADDED: Final = "the rows that the screen picks, or the first where it picks none"
_PICKED: Final = "the rows that the screen picks, and no other"


def check_rows(
    producers: Mapping[str, NodeInfo],
    stored: Mapping[str, InitializerInfo],
    content: Buffer,
    manifest: Manifest,
) -> None:
    """Refuse rows of the second pass other than those that the manifest has it run on.

    Whoever reads that there is a padding row relies on no operator ever seeing an empty batch.

    Args:
        producers: nodes by what they compute.
        stored: stored weights by name.
        content: the whole file.
        manifest: of the file; before 1.4 none says which rows.

    Raises:
        ArtifactError: there are none under a screen, or they are picked in another way.
    """
    told = manifest.second_pass
    if told is None:
        return
    if manifest.defence.screen_threshold is None:
        if told.padding_row or ROWS in producers:
            raise ArtifactError.mismatch(
                expected="no screen, as in the manifest",
                got="a padding row in the manifest" if told.padding_row else f"{ROWS} in the graph",
                fix=AGAIN,
            )
        return
    graph = _Rows(producers, stored, content)
    picked = graph.unpadded(ROWS) if told.padding_row else ROWS
    if picked is None or not graph.is_picked(picked):
        node = producers.get(ROWS)
        shown = f"{node.operator} of {', '.join(node.inputs)}" if node is not None else "none"
        raise ArtifactError.mismatch(
            expected=f"a second pass on {_PADDED if told.padding_row else _PICKED}",
            got=f"{ROWS} as {printable(shown, 200)}",
            fix=AGAIN,
        )


class _Rows:
    def __init__(
        self,
        producers: Mapping[str, NodeInfo],
        stored: Mapping[str, InitializerInfo],
        content: Buffer,
    ) -> None:
        self._producers, self._stored, self._content = producers, stored, content

    def unpadded(self, value: str) -> str | None:
        """The row numbers that were brought to at least one; None if they were not."""
        sliced = self._inputs(value, "Slice", 3)
        if sliced is None or not self._is(sliced[1], [0]):
            return None
        joined, counted = self._inputs(sliced[0], "Concat", 2), self._inputs(sliced[2], "Max", 2)
        if joined is None or counted is None or not self._is(joined[1], [0]) or not self._is(counted[1], [1]):
            return None
        return joined[0] if self._inputs(counted[0], "Shape", 1) == (joined[0],) else None

    def is_picked(self, value: str) -> bool:
        """Whether these are the numbers of the screened rows."""
        taken = self._inputs(value, "Gather", 2)
        if taken is None or not self._is(taken[1], [0]):
            return False
        return self._inputs(taken[0], "NonZero", 1) == (SCREENED,)

    def _inputs(self, value: str, operator: str, count: int) -> Sequence[str] | None:
        """The inputs of the node behind a value if it is of this kind, along the first axis."""
        node = self._producers.get(value)
        if node is None or (node.operator, len(node.inputs)) != (operator, count):
            return None
        return node.inputs if set(node.attributes.items()) <= {("axis", 0)} else None

    def _is(self, name: str, numbers: list[int]) -> bool:
        tensor = self._stored.get(name)
        if tensor is None or tensor.dtype != "int64" or tensor.elements != len(numbers):
            return False
        return list(read_numbers(tensor, self._content)) == numbers
