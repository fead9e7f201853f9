"""The view in the graph: picks, minima, maxima and means alone, the same in every runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nip_export.attach.editor import GraphEditor
from nip_export.attach.jpeg import add_round_trip
from nip_export.defence.views import GAIN, LEVELS, View, delay_of
from nip_runtime.file.jpeg import QUALITIES
from nip_runtime.file.manifest import ViewStep


def add_view(
    editor: GraphEditor,
    inputs: ir.Value,
    view: View,
    shape: tuple[int, ...],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ir.Value:
    """Inputs (rows, *shape) as a view shows them; see :func:`nip_export.defence.views.see`."""
    seen = _Seen(editor, shape)
    for step in view:
        match step:
            case ViewStep.MIRROR:
                inputs = seen.mirrored(inputs)
            case ViewStep.SHIFT:
                for axis in seen.axes:
                    inputs = seen.picked(inputs, axis, first=-1, last=seen.length(axis) - 2)
            case ViewStep.MEDIAN:
                inputs = seen.median(inputs)
            case ViewStep.BLUR:
                for axis in seen.axes:
                    left, middle, right = seen.neighbours(inputs, axis)
                    inputs = editor.op("Mean", [left, middle, middle, right])
            case ViewStep.GAIN:
                inputs = editor.op("Mul", [inputs, editor.constant("view_gain", GAIN)])
            case ViewStep.POLARITY:
                inputs = editor.op("Neg", [inputs])
            case ViewStep.DELAY:
                last, delay = seen.axes[-1], delay_of(shape)
                inputs = seen.picked(inputs, last, first=-delay, last=seen.length(last) - 1 - delay)
            case ViewStep.BITS:
                low = editor.constant("view_low", bounds[0])
                size = editor.constant("view_step", (bounds[1] - bounds[0]) / LEVELS)
                counted = editor.op("Div", [editor.op("Sub", [inputs, low]), size])
                inputs = editor.op("Mul", [editor.op("Round", [counted]), size])
                inputs = editor.op("Add", [inputs, low])
            case _:  # the steps that a quality belongs to
                inputs = add_round_trip(editor, inputs, shape, QUALITIES[step], bounds)
    return inputs


class _Seen:
    """Steps on values (rows, *shape)."""

    def __init__(self, editor: GraphEditor, shape: tuple[int, ...]) -> None:
        self.editor = editor
        self.shape = shape
        last = len(shape)
        self.axes: tuple[int, ...] = (last - 1, last) if len(shape) >= 3 else (last,)

    def length(self, axis: int) -> int:
        """Entries along an axis, counted from the batch axis 0."""
        return self.shape[axis - 1]

    def mirrored(self, values: ir.Value) -> ir.Value:
        """The last axis turned round."""
        last, length = len(self.shape), self.shape[-1]
        return self._slice(values, last, -1, -length - 1, step=-1)

    def picked(self, values: ir.Value, axis: int, *, first: int, last: int) -> ir.Value:
        """Entries `first` to `last` along an axis; outside of it, the nearest one."""
        rows = np.clip(np.arange(first, last + 1), 0, self.length(axis) - 1)
        name = f"view_rows_{first}_{last}_of_{self.length(axis)}"
        return self.editor.op("Gather", [values, self.editor.constant(name, rows, np.int64)], {"axis": axis})

    def neighbours(self, values: ir.Value, axis: int) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Before, here and after along an axis, the edge repeated."""
        length = self.length(axis)
        wide = self.picked(values, axis, first=-1, last=length)
        return self._slice(wide, axis, 0, length), values, self._slice(wide, axis, 2, length + 2)

    def median(self, values: ir.Value) -> ir.Value:
        """The median of 3×3: columns sorted, then the median of largest low, middle and smallest high."""
        op, rows, columns = self.editor.op, self.axes[0], self.axes[-1]
        above, here, below = self.neighbours(values, rows)
        small, large = op("Min", [above, here]), op("Max", [above, here])
        high = op("Max", [large, below])
        rest = op("Min", [large, below])
        low, middle = op("Min", [small, rest]), op("Max", [small, rest])
        lows, middles, highs = (self.neighbours(each, columns) for each in (low, middle, high))
        return self._middle(op("Max", list(lows)), self._middle(*middles), op("Min", list(highs)))

    def _middle(self, one: ir.Value, two: ir.Value, three: ir.Value) -> ir.Value:
        op = self.editor.op
        larger = op("Max", [one, two])
        return op("Max", [op("Min", [one, two]), op("Min", [larger, three])])

    def _slice(self, values: ir.Value, axis: int, start: int, stop: int, *, step: int = 1) -> ir.Value:
        numbers = {"start": start, "stop": stop, "axis": axis, "step": step}
        stored = [
            self.editor.constant(f"view_{what}_{value}", [value], np.int64) for what, value in numbers.items()
        ]
        return self.editor.op("Slice", [values, *stored])
