"""The round trip through JPEG in the graph; `nip_runtime.file.jpeg` has its numbers and its definition."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nip_export.attach.editor import NOTHING, GraphEditor
from nip_runtime.file import jpeg
from nip_runtime.file.jpeg import Plane


def add_round_trip(
    editor: GraphEditor, inputs: ir.Value, shape: tuple[int, ...], quality: int, bounds: tuple[float, float]
) -> ir.Value:
    """Images (rows, *shape) as :func:`nip_export.defence.jpeg.round_trip` gives them back.

    Args:
        editor: of the graph.
        inputs: within the bounds.
        shape: (C, H, W), C = 1 or 3.
        quality: 1 to 100.
        bounds: lowest and highest input value.
    """
    trip, low, size = _Trip(editor, quality), bounds[0], bounds[1] - bounds[0]
    parts = jpeg.planes(*shape[1:], quality, colours=shape[0] == 3)
    levels = trip.rounded(trip.times(trip.plus(inputs, -low), jpeg.WHOLE / size))
    if len(parts) == 1:
        levels = trip.plus(trip.lossy(trip.plus(levels, -jpeg.MIDDLE), parts[0], "luma"), jpeg.MIDDLE)
    else:
        channels = [trip.channel(levels, i) for i in range(3)]
        luma = trip.lossy(trip.plus(trip.mixed(channels, jpeg.LUMA), -jpeg.MIDDLE), parts[0], "luma")
        luma = trip.plus(luma, jpeg.MIDDLE)
        mixed = [trip.mixed(channels, jpeg.BLUE), trip.mixed(channels, jpeg.RED)]
        colours = trip.lossy(editor.op("Concat", mixed, {"axis": 1}), parts[1], "colour")
        blue, red = trip.channel(colours, 0), trip.channel(colours, 1)
        back = [
            trip.added(luma, trip.times(red, jpeg.RED_BACK)),
            trip.added(
                trip.added(luma, trip.times(blue, jpeg.GREEN_BACK[0])), trip.times(red, jpeg.GREEN_BACK[1])
            ),
            trip.added(luma, trip.times(blue, jpeg.BLUE_BACK)),
        ]
        levels = editor.op("Concat", back, {"axis": 1})
    levels = editor.op("Min", [editor.op("Max", [levels, trip.number(0)]), trip.number(jpeg.WHOLE)])
    return trip.plus(trip.times(levels, size / jpeg.WHOLE), low)


class _Trip:
    """Operators of one round trip."""

    def __init__(self, editor: GraphEditor, quality: int) -> None:
        self._editor = editor
        self._scope = f"view_jpeg{quality}"

    def number(self, value: float) -> ir.Value:
        """One number."""
        return self._editor.constant(f"{self._scope}_{value}", value)

    def plus(self, values: ir.Value, number: float) -> ir.Value:
        """A number added; nothing is done for 0."""
        return self._editor.op("Add", [values, self.number(number)]) if number else values

    def times(self, values: ir.Value, number: float) -> ir.Value:
        """Times a number."""
        return self._editor.op("Mul", [values, self.number(number)])

    def added(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """A sum."""
        return self._editor.op("Add", [one, other])

    def rounded(self, values: ir.Value) -> ir.Value:
        """To the nearest whole numbers, halves to the even ones."""
        return self._editor.op("Round", [values])

    def channel(self, values: ir.Value, number: int) -> ir.Value:
        """One channel (rows, 1, H, W)."""
        ends = {"first": number, "behind": number + 1, "channels": 1, "step": 1}
        stored = [
            self._editor.constant(f"{self._scope}_{what}_{value}", [value], np.int64)
            for what, value in ends.items()
        ]
        return self._editor.op("Slice", [values, *stored])

    def mixed(self, channels: list[ir.Value], weights: tuple[int, int, int]) -> ir.Value:
        """Luminance or colour of three channels, whole numbers."""
        red, green, blue = (
            self.times(channel, weight) for channel, weight in zip(channels, weights, strict=True)
        )
        return self.rounded(self.times(self.added(self.added(red, green), blue), 2.0**-jpeg.COLOUR_BITS))

    def lossy(self, values: ir.Value, part: Plane, name: str) -> ir.Value:
        """Planes (rows, K, H, W) to rounded coefficients and back."""
        op = self._editor.op

        def stored(what: str) -> ir.Value:
            return self._editor.constant(f"{self._scope}_{name}_{what}", getattr(part, what))

        def turned(plane: ir.Value) -> ir.Value:
            return op("Transpose", [plane], {"perm": [0, 1, 3, 2]})

        # No turn stands right before a product: onnxruntime makes one operator of the two, which fails
        # without rows. Where nothing else lies between them, a bound that nothing reaches does.
        once = self.times(op("MatMul", [values, stored("columns")]), part.between)
        counted = op("MatMul", [self.rounded(turned(once)), stored("rows")])
        levels = self.rounded(op("Mul", [counted, stored("per_step")]))
        back = op("MatMul", [op("Mul", [levels, stored("steps")]), stored("rows_back")])
        apart = op("Max", [turned(back), self.number(NOTHING)])
        return op("MatMul", [apart, stored("columns_back")])
