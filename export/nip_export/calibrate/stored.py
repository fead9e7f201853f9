"""Whether benign images were stored as JPEG at the size at which the network sees them, and how well.

Then their 8×8 blocks lie on a lattice, and a round trip of the same quality hardly changes them. Moved by
half a block they lie on it no more: every image is its own comparison. Resized images lie on none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nip_export.data.inputs import Inputs
from nip_export.defence.jpeg import round_trip
from nip_export.defence.views import can_be_stored
from nip_runtime.file.jpeg import BLOCK, QUALITIES
from nip_runtime.file.manifest import ViewStep

LOOKED_AT = 64
"""Images."""
LEAST_IMAGES = 20
CLEARLY = 0.3
"""Loss of an image where it lies, as a share of its loss when moved. At the right quality 0.07 to 0.21 were
seen, 0.9 and more where there was no lattice, 0.2 to 0.7 at neighbours of the right one."""


def stored_as(inputs: Inputs, bounds: tuple[float, float]) -> ViewStep | None:
    """The round trip that images have been through; None if there was none, or of another kind or quality.

    Args:
        inputs: (N, *shape) float32; the first 64 are looked at.
        bounds: lowest and highest value.
    """
    shape = tuple(inputs.shape[1:])
    if len(inputs) < LEAST_IMAGES or not can_be_stored(shape) or min(shape[1:]) < 2 * BLOCK:
        return None
    images: NDArray[np.float32] = np.ascontiguousarray(inputs[:LOOKED_AT])
    moved = np.ascontiguousarray(np.roll(images, (BLOCK // 2, BLOCK // 2), (2, 3)))
    shares = {
        step: float(np.median(_loss(images, quality, bounds) / _loss(moved, quality, bounds)))
        for step, quality in QUALITIES.items()
    }
    best = min(shares, key=shares.__getitem__)
    return best if shares[best] < CLEARLY else None


def _loss(images: NDArray[np.float32], quality: int, bounds: tuple[float, float]) -> NDArray[np.float64]:
    """Mean change (N,) of every image under a round trip."""
    apart = np.abs(round_trip(images, quality, bounds) - images).mean((1, 2, 3), dtype=np.float64)
    found: NDArray[np.float64] = np.maximum(apart, 1e-12)
    return found
