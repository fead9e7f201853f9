"""Compares the view under which a graph's second pass looks at an input with what the manifest says of it.

The view is followed back from the second pass to the input, step by step: each must stand there as the
exporter writes it, with the numbers that the step means and nothing in between. So nothing of another row, of
another value or of a hidden constant gets into what the second pass sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact.agreement import AGAIN
from nip_runtime.file.artifact.numbers import read_numbers, to_float32
from nip_runtime.file.container.infos import Attribute, InitializerInfo, NodeInfo
from nip_runtime.file.container.reader import printable
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.manifest import Manifest, ViewStep
from nip_runtime.file.names import ROWS

_GAIN: Final = 0.9
_SHOWN: Final = 200
_DELAY: Final = 16
"""Into how many parts ``delay`` parts the last axis."""
_LEVELS: Final = 3
"""Steps between the lowest and the highest of the values that ``bits`` leaves."""
_SPATIAL_AXES: Final = {
    ViewStep.MIRROR: 1,
    ViewStep.MEDIAN: 2,
    ViewStep.SHIFT: 1,
    ViewStep.BLUR: 1,
    ViewStep.DELAY: 1,
}
"""Axes behind the channels that a step needs."""


def check_view(
    shown: str,
    producers: Mapping[str, NodeInfo],
    stored: Mapping[str, InitializerInfo],
    content: Buffer,
    manifest: Manifest,
) -> None:
    """Refuse a second pass that looks at anything but the manifest's view of the rows it takes.

    Args:
        shown: name of the value that the view makes.
        producers: nodes by what they compute.
        stored: stored weights by name.
        content: the whole file.
        manifest: of the file.

    Raises:
        ArtifactError: at the first operator or number that is not what a step of the view means, or where
            the steps end at something else than the input's rows.
    """
    back, value = WayBack(producers, stored, content, manifest), shown
    for step in reversed(back.view):
        value = back.behind(step, value)
    back.check_rows(value)


class WayBack:
    """From what a step makes to what it is made of. Axes are counted from the batch axis 0."""

    def __init__(
        self,
        producers: Mapping[str, NodeInfo],
        stored: Mapping[str, InitializerInfo],
        content: Buffer,
        manifest: Manifest,
    ) -> None:
        self.view = manifest.gate.view if manifest.gate is not None else ()
        self._producers, self._stored, self._content = producers, stored, content
        self._manifest, self._shape = manifest, manifest.input.shape
        last = len(self._shape)
        self._axes: tuple[int, ...] = (last - 1, last) if last >= 3 else (last,)
        self._step = ""

    def behind(self, step: ViewStep, value: str) -> str:
        """The value that a step looks at, where ``value`` is what it shows."""
        self._step = step
        if len(self._shape) <= _SPATIAL_AXES.get(step, 0):
            raise self._other(f"inputs of shape {self._shape}, which have no axes for {step}")
        low, high = self._manifest.input.bounds
        size = (high - low) / _LEVELS
        match step:
            case ViewStep.MIRROR:
                last, length = self._axes[-1], self._shape[-1]
                return self.sliced(value, last, start=-1, stop=-length - 1, step=-1)
            case ViewStep.SHIFT:
                for axis in reversed(self._axes):
                    value = self._picked(value, axis, first=-1, last=self._length(axis) - 2)
                return value
            case ViewStep.MEDIAN:
                return self._sorted(value)
            case ViewStep.BLUR:
                for axis in reversed(self._axes):
                    left, value, again, right = self.inputs(value, "Mean", 4)
                    self.require_same((value,), (again,))
                    self._require_neighbours(left, value, right, axis)
                return value
            case ViewStep.GAIN:
                return self.computed(value, "Mul", _GAIN)
            case ViewStep.POLARITY:
                (whole,) = self.inputs(value, "Neg", 1)
                return whole
            case ViewStep.DELAY:
                last, length = self._axes[-1], self._shape[-1]
                delay = max(1, length // _DELAY)
                return self._picked(value, last, first=-delay, last=length - 1 - delay)
            case ViewStep.BITS:
                (counted,) = self.inputs(
                    self.computed(self.computed(value, "Add", low), "Mul", size), "Round", 1
                )
                return self.computed(self.computed(counted, "Div", size), "Sub", low)
            case _:  # the steps that a quality belongs to
                if len(self._shape) != 3 or self._shape[0] not in (1, 3):
                    raise self._other(f"inputs of shape {self._shape}, which JPEG does not take")
                # Not above: numpy, which it counts with, is not needed to show other files.
                from nip_runtime.file.artifact.round_trip import behind_round_trip

                return behind_round_trip(self, value, step, self._shape, (low, high))

    def check_rows(self, value: str) -> None:
        """Refuse what is neither the input nor, under a screen, the rows of it that the screen picks."""
        source, node = self._manifest.input.name, self._producers.get(value)
        picks = node is not None and (node.operator, node.attributes.get("axis")) == ("Gather", 0)
        taken = node.inputs if node is not None and picks else ()
        if self._manifest.gate is None:  # files up to manifest 1.2 may call the rows otherwise
            fine = value == source or taken[:1] == (source,)
        elif self._manifest.defence.screen_threshold is None:
            fine = value == source
        else:
            fine = taken == (source, ROWS) and ROWS in self._producers
        if not fine:
            raise self._other(f"{self._shown(value)} where the input's own rows should be")

    def _sorted(self, value: str) -> str:
        """Behind a median of 3×3: columns sorted, then of largest low, middle and smallest high."""
        rows, columns = self._axes
        one, two, three = self._middle(value)
        lows, middles, highs = self.inputs(one, "Max", 3), self._middle(two), self.inputs(three, "Min", 3)
        for left, here, right in (lows, middles, highs):
            self._require_neighbours(left, here, right, columns)
        small, rest = self._pair(lows[1], middles[1])
        large, below = self._pair(rest, highs[1])
        above, here = self._pair(small, large)
        self._require_neighbours(above, here, below, rows)
        return here

    def _middle(self, value: str) -> tuple[str, ...]:
        """The three values of which one is the middle one."""
        low, high = self.inputs(value, "Max", 2)
        larger, three = self.inputs(high, "Min", 2)
        return (*self._pair(low, larger), three)

    def _pair(self, smaller: str, larger: str) -> tuple[str, ...]:
        """The two values of which these are the smaller and the larger one."""
        pair = self.inputs(smaller, "Min", 2)
        self.require_same(pair, self.inputs(larger, "Max", 2))
        return pair

    def _require_neighbours(self, left: str, here: str, right: str, axis: int) -> None:
        """Entries before and after ``here`` along an axis, the edge repeated."""
        length = self._length(axis)
        for value, start in ((left, 0), (right, 2)):
            wide = self.sliced(value, axis, start=start, stop=start + length)
            self.require_same((here,), (self._picked(wide, axis, first=-1, last=length),))

    def _picked(self, value: str, axis: int, *, first: int, last: int) -> str:
        """Behind entries ``first`` to ``last`` along an axis; outside of it, the nearest one."""
        whole, rows = self.inputs(value, "Gather", 2, axis=axis)
        most = self._length(axis) - 1
        wanted = (min(max(place, 0), most) for place in range(first, last + 1))
        self.require_stored(rows, "int64", wanted, count=last + 1 - first)
        return whole

    def sliced(self, value: str, axis: int, *, start: int, stop: int, step: int = 1) -> str:
        """The value behind some entries along an axis."""
        whole, *names = self.inputs(value, "Slice", 5)
        for name, number in zip(names, (start, stop, axis, step), strict=True):
            self.require_stored(name, "int64", [number])
        return whole

    def computed(self, value: str, operator: str, number: float) -> str:
        """The value behind one operation with a stored number."""
        whole, name = self.inputs(value, operator, 2)
        self.require_stored(name, "float32", [to_float32(number)])
        return whole

    def _length(self, axis: int) -> int:
        return self._shape[axis - 1]

    def inputs(self, value: str, operator: str, count: int, **attributes: Attribute) -> tuple[str, ...]:
        """The inputs of the node behind a value, which must be of this kind."""
        node = self._producers.get(value)
        fits = node is not None and (node.operator, len(node.inputs)) == (operator, count)
        if node is not None and fits and "" not in node.inputs and dict(node.attributes) == attributes:
            return node.inputs
        wanted = f"{operator}{_stated(attributes)} of {count} value{'s' if count > 1 else ''}"
        raise self._other(f"{self._shown(value)} where {self._step} has {wanted}")

    def require_same(self, these: tuple[str, ...], those: tuple[str, ...]) -> None:
        """Refuse values that are not the same ones."""
        if these != those:
            shown = " and ".join(printable(", ".join(names)) for names in (these, those))
            raise self._other(f"{shown} in {self._step}, where one value should be")

    def require_stored(self, name: str, dtype: str, wanted: Iterable[float], *, count: int = 1) -> None:
        """Refuse what is not stored, or as other numbers than these."""
        tensor = self._stored.get(name)
        if tensor is None or tensor.dtype != dtype:
            raise self._other(f"one whose {self._step} depends on {printable(name)}")
        if tensor.elements != count or read_numbers(tensor, self._content) != tuple(wanted):
            raise self._other(f"other numbers than those of {self._step} in {printable(name)}")

    def _shown(self, value: str) -> str:
        node = self._producers.get(value)
        if node is None:
            return printable(value) or "nothing"
        return printable(f"{node.operator}{_stated(node.attributes)} of {', '.join(node.inputs)}", _SHOWN)

    def _other(self, got: str) -> ArtifactError:
        rho = ("rho",) if self._manifest.gate is None or self._manifest.gate.rho else ()
        return ArtifactError.mismatch(
            expected=f"a second pass that looks at the input by {'+'.join((*self.view, *rho))}",
            got=got,
            fix=AGAIN,
        )


def _stated(attributes: Mapping[str, Attribute]) -> str:
    """Attributes as they stand in a message, in brackets."""
    return f" ({', '.join(f'{name} {value!r}' for name, value in attributes.items())})" if attributes else ""
