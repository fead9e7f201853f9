"""A round trip through JPEG, in numpy and in torch; :mod:`nip_runtime.file.jpeg` says what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_runtime.file import jpeg
from nip_runtime.file.jpeg import Plane

Floats = NDArray[np.float32]


def round_trip(inputs: Floats, quality: int, bounds: tuple[float, float]) -> Floats:
    """Images (N, C, H, W) float32, C = 1 or 3 (red, green, blue), after JPEG of a quality, within the bounds.

    They are rounded to 256 levels on the way, as every encoder's input is; the way back is not rounded again.
    """
    parts = jpeg.planes(*inputs.shape[2:], quality, colours=inputs.shape[1] == 3)
    seen = _through(inputs, parts, bounds, np.rint, lambda found: np.concatenate(found, axis=1))
    return np.ascontiguousarray(seen, dtype=np.float32)


def round_trip_torch(inputs: Tensor, quality: int, bounds: tuple[float, float]) -> Tensor:
    """:func:`round_trip` on tensors, differentiably: rounding passes gradients on as they are."""
    height, width = inputs.shape[2:]
    parts = jpeg.planes(height, width, quality, colours=inputs.shape[1] == 3)

    def rounded(values: Tensor) -> Tensor:
        return values.round().detach() + (values - values.detach())

    seen: Tensor = _through(
        inputs,
        [_Tensors(part, inputs.device) for part in parts],
        bounds,
        rounded,
        lambda found: torch.cat(found, 1),
    )
    return seen


class _Tensors:
    """The numbers of a plane on a device."""

    def __init__(self, plane: Plane, device: torch.device) -> None:
        for field in fields(plane):
            value = getattr(plane, field.name)
            kept = torch.from_numpy(value).to(device) if isinstance(value, np.ndarray) else value
            setattr(self, field.name, kept)


def _through(
    values: Any,
    parts: Any,
    bounds: tuple[float, float],
    rounded: Callable[[Any], Any],
    joined: Callable[[Any], Any],
) -> Any:
    """The definition, for arrays and for tensors."""
    low, high = bounds

    def lossy(plane: Any, part: Any) -> Any:
        once = rounded(plane @ part.columns * part.between).swapaxes(-1, -2)
        levels = rounded(once @ part.rows * part.per_step)
        return ((levels * part.steps) @ part.rows_back).swapaxes(-1, -2) @ part.columns_back

    def mixed(channels: Any, weights: tuple[int, int, int]) -> Any:
        red, green, blue = (channel * weight for channel, weight in zip(channels, weights, strict=True))
        return rounded((red + green + blue) * 2.0**-jpeg.COLOUR_BITS)

    levels = rounded((values - low) * (jpeg.WHOLE / (high - low)))
    if len(parts) == 1:
        levels = lossy(levels - jpeg.MIDDLE, parts[0]) + jpeg.MIDDLE
    else:
        channels = [levels[:, i : i + 1] for i in range(3)]
        luma = lossy(mixed(channels, jpeg.LUMA) - jpeg.MIDDLE, parts[0]) + jpeg.MIDDLE
        colours = lossy(joined([mixed(channels, jpeg.BLUE), mixed(channels, jpeg.RED)]), parts[1])
        blue, red = colours[:, :1], colours[:, 1:]
        green = luma + blue * jpeg.GREEN_BACK[0] + red * jpeg.GREEN_BACK[1]
        levels = joined([luma + red * jpeg.RED_BACK, green, luma + blue * jpeg.BLUE_BACK])
    return levels.clip(0, jpeg.WHOLE) * ((high - low) / jpeg.WHOLE) + low
