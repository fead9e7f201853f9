"""The view: how the second pass looks at an input, in numpy and in torch, and which views there are.

A second look from a slightly different place moves an adversarial input's logits far more than a benign
one's: what an attack gains, it gains on the very pixels it was made for. The steps are cheap, exact in every
runtime (they pick, average or compare values) and stay within the input's bounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_export.defence.jpeg import round_trip, round_trip_torch
from nip_runtime.errors import ExportError
from nip_runtime.file.jpeg import QUALITIES
from nip_runtime.file.manifest import ViewStep

View = tuple[ViewStep, ...]
"""Steps in the order in which they are taken; none: the input itself."""

GAIN = 0.9
"""What ``gain`` multiplies with."""
DELAY = 16
"""Into how many parts ``delay`` parts the last axis: it moves everything by one."""
LEVELS = 3
"""Steps between the lowest and the highest of the values that ``bits`` leaves."""


RHO = "rho"
"""How names of views spell the inverse perturbation, which comes last."""


def view_name(view: View, *, rho: bool) -> str:
    """A view as users spell it: "mirror+median", or "mirror+rho", or "rho" for the perturbation alone."""
    return "+".join([*view, *([RHO] if rho else [])]) or "identity"


def parse_view(text: str) -> tuple[View, bool]:
    """The view that a name such as "mirror+median+rho" stands for, and whether ρ is added.

    Raises:
        ExportError: a step that there is not, one twice, or ρ before a step.
    """
    steps = [step.value for step in ViewStep]
    parts = text.split("+")
    rho = parts[-1] == RHO
    names = parts[:-1] if rho else parts
    unknown = [part for part in names if part not in steps]
    if unknown or len(set(names)) != len(names):
        raise ExportError(
            f"view: expected 'auto', or {', '.join(steps)}, each at most once, and 'rho' last, joined by '+' "
            f"(for instance 'mirror+rho'), got {text!r}"
        )
    return tuple(ViewStep(name) for name in names), rho


def menu(
    shape: tuple[int, ...], bounds: tuple[float, float], stored: ViewStep | None = None
) -> tuple[View, ...]:
    """The views that make sense for inputs of a per-sample shape.

    Args:
        shape: (C, H, W) images and spectra, (C, T) sequences, (D,) vectors.
        bounds: lowest and highest value; scaling keeps within them if 0 is one of theirs or between them,
            and another sign if they lie evenly around 0.
        stored: the round trip that benign images have been through, see
            :func:`nip_export.calibrate.stored.stored_as`: every view then begins with it, and none smooths
            further. By itself it is none: it hardly moves what was stored so, and everything else would seem
            attacked.
    """
    mirror, shift, median, blur, gain = (
        ViewStep.MIRROR,
        ViewStep.SHIFT,
        ViewStep.MEDIAN,
        ViewStep.BLUR,
        ViewStep.GAIN,
    )
    if len(shape) == 3 and min(shape[1:]) >= 3:
        turned: tuple[View, ...] = ((), (mirror,), (shift,), (mirror, shift))
        if stored is not None:
            return tuple((stored, *view) if view else () for view in turned)
        return tuple((*first, *then) for then in ((), (median,), (blur,)) for first in turned)
    found: list[View] = [()]
    if len(shape) == 2 and shape[1] >= 3:
        found += [(shift,), (blur,), (ViewStep.DELAY,), (mirror,)]
    if bounds[0] == -bounds[1]:
        found += [(*view, ViewStep.POLARITY) for view in found]
    if bounds[0] <= 0 <= bounds[1]:
        found += [(*view, gain) for view in found]
    return tuple(found)


def gentle_menu(
    shape: tuple[int, ...], bounds: tuple[float, float], stored: ViewStep | None
) -> tuple[View, ...]:
    """Views that move little but what the round trip takes away, for networks that others move too far.

    Args:
        shape: per-sample shape of the inputs.
        bounds: their lowest and highest value.
        stored: see :func:`menu`; None: there is no such view.
    """
    if stored is None or not can_be_stored(shape) or not bounds[0] <= 0 <= bounds[1]:
        return ()
    return ((stored, ViewStep.GAIN),)


SPATIAL_AXES = {
    ViewStep.MIRROR: 1,
    ViewStep.MEDIAN: 2,
    ViewStep.SHIFT: 1,
    ViewStep.BLUR: 1,
    ViewStep.DELAY: 1,
}
"""Axes behind the channels that a step needs."""


def can_be_stored(shape: tuple[int, ...]) -> bool:
    """Whether inputs of a per-sample shape are images that JPEG takes."""
    return len(shape) == 3 and shape[0] in (1, 3)


def check_view(view: View, shape: tuple[int, ...], bounds: tuple[float, float]) -> None:
    """Refuse a view that an input cannot be looked at by.

    Raises:
        ExportError: naming the step.
    """
    spatial = len(shape) - 1
    lossy = next((step for step in view if step in QUALITIES), None)
    if lossy is not None and not can_be_stored(shape):
        raise ExportError(f"view: {lossy} needs images of 1 or 3 channels, got shape {shape}; leave it out")
    for step, axes in SPATIAL_AXES.items():
        if step in view and (spatial < axes or min(shape[-axes:]) < 3):
            needed = "rows and columns" if axes == 2 else "an axis after the channels"
            raise ExportError(
                f"view: {step} needs inputs with {needed} of at least 3, got shape {shape}; leave it out"
            )
    if ViewStep.GAIN in view and not bounds[0] <= 0 <= bounds[1]:
        raise ExportError(f"view: gain needs bounds around 0, got {bounds}; leave it out")
    if ViewStep.POLARITY in view and bounds[0] != -bounds[1]:
        raise ExportError(f"view: polarity needs bounds evenly around 0, got {bounds}; leave it out")


def delay_of(shape: Sequence[int]) -> int:
    """By how many entries ``delay`` moves inputs of a shape."""
    return max(1, shape[-1] // DELAY)


def _axes(ndim: int) -> tuple[int, ...]:
    """The spatial axes of a batch with so many axes: the last two of images, the last of sequences."""
    return (-2, -1) if ndim >= 4 else (-1,)


def _edged(values: NDArray[np.float32], axis: int, *, before: int, after: int) -> NDArray[np.float32]:
    """Values with their first and last entry along an axis repeated outside."""
    width = [(0, 0)] * values.ndim
    width[axis] = (before, after)
    padded: NDArray[np.float32] = np.pad(values, width, mode="edge")
    return padded


def see(
    inputs: NDArray[np.float32], view: View, bounds: tuple[float, float] = (0.0, 1.0)
) -> NDArray[np.float32]:
    """Inputs (N, *shape) float32, N ≥ 1, as a view shows them, from the definition.

    ``mirror`` turns the last axis round. ``shift`` moves everything by one entry along every spatial axis,
    the first entry staying in place behind it. ``median`` takes the median of 3×3 pixels, ``blur`` weighs
    neighbours 1:2:1 along every spatial axis; both repeat the edge outside. ``gain`` multiplies by 0.9,
    ``polarity`` by −1. ``delay`` moves everything by a sixteenth of the last axis, its first entry repeated.
    ``bits`` rounds to four values between the bounds. ``jpeg75`` stores as JPEG of quality 75 and reads
    again, see :func:`nip_export.defence.jpeg.round_trip`; so do its like.
    """
    for step in view:
        match step:
            case ViewStep.MIRROR:
                inputs = inputs[..., ::-1]
            case ViewStep.SHIFT:
                for axis in _axes(inputs.ndim):
                    moved = _edged(inputs, axis, before=1, after=0)
                    inputs = np.take(moved, range(inputs.shape[axis]), axis)
            case ViewStep.MEDIAN:
                inputs = _median(_edged(_edged(inputs, -2, before=1, after=1), -1, before=1, after=1))
            case ViewStep.BLUR:
                for axis in _axes(inputs.ndim):
                    wide, length = _edged(inputs, axis, before=1, after=1), inputs.shape[axis]
                    left, middle, right = (
                        np.take(wide, range(first, first + length), axis) for first in range(3)
                    )
                    inputs = ((left + middle + middle + right) / np.float32(4)).astype(np.float32)
            case ViewStep.GAIN:
                inputs = inputs * np.float32(GAIN)
            case ViewStep.POLARITY:
                inputs = -inputs
            case ViewStep.DELAY:
                moved = _edged(inputs, -1, before=delay_of(inputs.shape), after=0)
                inputs = moved[..., : inputs.shape[-1]]
            case ViewStep.BITS:
                low, size = np.float32(bounds[0]), np.float32((bounds[1] - bounds[0]) / LEVELS)
                inputs = np.rint((inputs - low) / size) * size + low
            case _:  # the steps that a quality belongs to
                inputs = round_trip(inputs, QUALITIES[step], bounds)
    return np.ascontiguousarray(inputs)


MEDIAN_OF_NINE = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3), (5, 8), (4, 7)),
    *((3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)
"""Pairs of nine values to put in order, one after another: the median then stands fourth, counted from 0.
Source: Paeth, "Median finding on a 3×3 grid", Graphics Gems, 1990."""


def _median(wide: NDArray[np.float32]) -> NDArray[np.float32]:
    """Medians of 3×3 values (…, H, W), their neighbours (…, H + 2, W + 2) given."""
    height, width = wide.shape[-2] - 2, wide.shape[-1] - 2
    found = [
        wide[..., row : row + height, column : column + width] for row in range(3) for column in range(3)
    ]
    for low, high in MEDIAN_OF_NINE:
        one, two = found[low], found[high]
        found[low], found[high] = np.minimum(one, two), np.maximum(one, two)
    return found[4]


def see_torch(inputs: Tensor, view: View, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """:func:`see` on tensors, differentiably: rounding passes gradients on as they are."""
    for step in view:
        match step:
            case ViewStep.MIRROR:
                inputs = inputs.flip(-1)
            case ViewStep.SHIFT:
                for axis in _axes(inputs.ndim):
                    length = inputs.shape[axis]
                    kept = inputs.narrow(axis, 0, length - 1)
                    inputs = torch.cat((inputs.narrow(axis, 0, 1), kept), axis)
            case ViewStep.MEDIAN:
                wide = _edged_torch(_edged_torch(inputs, -2), -1)
                windows = wide.unfold(-2, 3, 1).unfold(-2, 3, 1).flatten(-2)
                inputs = windows.median(-1).values
            case ViewStep.BLUR:
                for axis in _axes(inputs.ndim):
                    wide, length = _edged_torch(inputs, axis), inputs.shape[axis]
                    left, middle, right = (wide.narrow(axis, first, length) for first in range(3))
                    inputs = (left + middle + middle + right) / 4
            case ViewStep.GAIN:
                inputs = inputs * GAIN
            case ViewStep.POLARITY:
                inputs = -inputs
            case ViewStep.DELAY:
                first, delay = inputs.narrow(-1, 0, 1), delay_of(inputs.shape)
                kept = inputs.narrow(-1, 0, inputs.shape[-1] - delay)
                inputs = torch.cat((first.expand(*first.shape[:-1], delay), kept), -1)
            case ViewStep.BITS:
                rounded = _rounded(inputs, bounds)
                # Exactly the rounded values, with the gradient of the given ones.
                inputs = rounded.detach() + (inputs - inputs.detach())
            case _:
                inputs = round_trip_torch(inputs, QUALITIES[step], bounds)
    return inputs


def _rounded(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    size = (bounds[1] - bounds[0]) / LEVELS
    return ((values - bounds[0]) / size).round() * size + bounds[0]


def _edged_torch(values: Tensor, axis: int) -> Tensor:
    length = values.shape[axis]
    return torch.cat((values.narrow(axis, 0, 1), values, values.narrow(axis, length - 1, 1)), axis)
