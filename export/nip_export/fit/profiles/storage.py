"""How read-outs are stored: large ones in int8, each class's weights in steps of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nip_export.defence.spec import MOST_STEPS, ReadOut

LARGE = 2**13
"""Weights from which on a read-out is stored in int8; in float32 they would take 32 kB. At 1000 classes a
read-out takes up to 4 MB, a third of a MobileNet, and at 10 classes still 7 % of the smallest transformer."""


def in_steps(readout: ReadOut, mean: NDArray[np.floating]) -> ReadOut:
    """The read-out with every class's weights rounded to 127 steps either way.

    What all classes' weights have in common is taken out before: it moves all scores of a row alike, which no
    softmax sees, but it would make the steps longer. What the rounding moves a class's mean score by goes
    into its bias.

    Args:
        readout: (D, C).
        mean: (D,) mean pooled activation of benign images.
    """
    weight = readout.weight.astype(np.float64)
    own = weight - weight.mean(1, keepdims=True)
    largest = np.abs(own).max(0)
    step_size = np.where(largest > 0, largest / MOST_STEPS, 1.0).astype(np.float32)
    steps = np.rint(own / step_size).clip(-MOST_STEPS, MOST_STEPS).astype(np.float32)
    rounded = steps * step_size
    bias = readout.bias + mean.astype(np.float64) @ (own - rounded)
    return replace(readout, weight=rounded, bias=bias.astype(np.float32), step_size=step_size)


def as_stored(readout: ReadOut, mean: NDArray[np.floating]) -> ReadOut:
    """The read-out as a file holds it: large ones :func:`in_steps`, others as they are."""
    return in_steps(readout, mean) if readout.weight.size >= LARGE else readout
