"""Follows a round trip through JPEG back through a graph: every operator and number is the exporter's."""

from __future__ import annotations

from typing import Final

from nip_runtime.file import jpeg
from nip_runtime.file.artifact.view import WayBack
from nip_runtime.file.jpeg import Floats, Plane
from nip_runtime.file.manifest import ViewStep

_NOTHING: Final = -1e30
"""A bound that nothing reaches, between a turn and a product."""
_TURN: Final = (0, 1, 3, 2)


def behind_round_trip(
    back: WayBack, value: str, step: ViewStep, shape: tuple[int, ...], bounds: tuple[float, float]
) -> str:
    """The value that went through JPEG, where `value` is what came out.

    Args:
        back: the way back from the second pass.
        value: name of what the step shows.
        step: which round trip.
        shape: of an input.
        bounds: lowest and highest input value.

    Raises:
        ArtifactError: at the first operator or number that is not the exporter's.
    """
    low, size = bounds[0], bounds[1] - bounds[0]
    value = _plus(back, value, low)
    value = back.computed(
        back.computed(back.computed(value, "Mul", size / jpeg.WHOLE), "Min", jpeg.WHOLE), "Max", 0
    )
    parts = jpeg.planes(*shape[1:], jpeg.QUALITIES[step], colours=shape[0] == 3)
    if len(parts) == 1:
        value = _plus(back, _lossy(back, _plus(back, value, jpeg.MIDDLE), parts[0]), -jpeg.MIDDLE)
    else:
        value = _levels_of_colours(back, value, *parts)
    (value,) = back.inputs(value, "Round", 1)
    return _plus(back, back.computed(value, "Mul", jpeg.WHOLE / size), -low)


def _levels_of_colours(back: WayBack, value: str, first: Plane, second: Plane) -> str:
    """Behind red, green and blue as luminance and two colours give them back: their levels before."""
    red_of, green_of, blue_of = back.inputs(value, "Concat", 3, axis=1)
    luma, red = back.inputs(red_of, "Add", 2)
    part, red_again = back.inputs(green_of, "Add", 2)
    luma_again, blue = back.inputs(part, "Add", 2)
    luma_too, blue_again = back.inputs(blue_of, "Add", 2)
    back.require_same((luma, luma), (luma_again, luma_too))
    back.require_same(
        (back.computed(red, "Mul", jpeg.RED_BACK), back.computed(blue, "Mul", jpeg.GREEN_BACK[0])),
        (
            back.computed(red_again, "Mul", jpeg.GREEN_BACK[1]),
            back.computed(blue_again, "Mul", jpeg.BLUE_BACK),
        ),
    )
    colours = back.sliced(back.computed(blue_again, "Mul", jpeg.BLUE_BACK), 1, start=0, stop=1)
    also = back.sliced(back.computed(red, "Mul", jpeg.RED_BACK), 1, start=1, stop=2)
    back.require_same((colours,), (also,))
    mixed = back.inputs(_lossy(back, colours, second), "Concat", 2, axis=1)
    brightness = _plus(back, _lossy(back, _plus(back, luma, jpeg.MIDDLE), first), -jpeg.MIDDLE)
    levels = [
        _mixed(back, one, weights)
        for one, weights in zip((brightness, *mixed), (jpeg.LUMA, jpeg.BLUE, jpeg.RED), strict=True)
    ]
    back.require_same((levels[0], levels[0]), (levels[1], levels[2]))
    return levels[0]


def _mixed(back: WayBack, value: str, weights: tuple[int, int, int]) -> str:
    """Behind a weighted sum of red, green and blue: all three."""
    (value,) = back.inputs(value, "Round", 1)
    two, third = back.inputs(back.computed(value, "Mul", 2.0**-jpeg.COLOUR_BITS), "Add", 2)
    first, second = back.inputs(two, "Add", 2)
    wholes = [
        back.sliced(back.computed(one, "Mul", weight), 1, start=i, stop=i + 1)
        for i, (one, weight) in enumerate(zip((first, second, third), weights, strict=True))
    ]
    back.require_same((wholes[0], wholes[0]), (wholes[1], wholes[2]))
    return wholes[0]


def _lossy(back: WayBack, value: str, part: Plane) -> str:
    """Behind the way to rounded coefficients and back."""
    value = back.computed(_product(back, value, part.columns_back), "Max", _NOTHING)
    value = _product(back, _turned(back, value), part.rows_back)
    (value,) = back.inputs(_stretched(back, value, part.steps), "Round", 1)
    value = _product(back, _stretched(back, value, part.per_step), part.rows)
    (value,) = back.inputs(value, "Round", 1)
    return _product(back, back.computed(_turned(back, value), "Mul", part.between), part.columns)


def _plus(back: WayBack, value: str, number: float) -> str:
    """Behind a number added; nothing was done for 0."""
    return back.computed(value, "Add", number) if number else value


def _turned(back: WayBack, value: str) -> str:
    (whole,) = back.inputs(value, "Transpose", 1, perm=_TURN)
    return whole


def _product(back: WayBack, value: str, matrix: Floats) -> str:
    return _with_matrix(back, value, "MatMul", matrix)


def _stretched(back: WayBack, value: str, matrix: Floats) -> str:
    return _with_matrix(back, value, "Mul", matrix)


def _with_matrix(back: WayBack, value: str, operator: str, matrix: Floats) -> str:
    """Behind an operation with a stored matrix on the right."""
    whole, name = back.inputs(value, operator, 2)
    back.require_stored(name, "float32", matrix.ravel().tolist(), count=matrix.size)
    return whole
