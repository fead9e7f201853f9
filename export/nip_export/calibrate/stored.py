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
TILE = 2 * BLOCK
"""Rows and columns that the colours of a block stand for. Beyond the last whole tile encoders make up what is
not there, each in its own way: that part says nothing."""
LEAST_IMAGES = 20
CLEARLY = 0.3
"""Loss of an image where it lies, as a share of its loss when moved. At the right quality 0.06 to 0.29 were
seen, 0.9 and more where there was no lattice."""
STANDS_OUT = 1.15
"""How much more every other quality must change images. Of those that were stored so 1.2 and more was seen;
even tiles, eight pixels wide, lie about as well on the lattice of any quality, and have been through none."""


def stored_as(inputs: Inputs, bounds: tuple[float, float]) -> ViewStep | None:
    """The round trip that images have been through; None if there was none, or of another kind or quality.

    Args:
        inputs: (N, *shape) float32; 64 of them are looked at, from first to last.
        bounds: lowest and highest value.
    """
    shape = tuple(inputs.shape[1:])
    if len(inputs) < LEAST_IMAGES or not can_be_stored(shape) or min(shape[1:]) < TILE:
        return None
    chosen = np.linspace(0, len(inputs) - 1, min(len(inputs), LOOKED_AT)).astype(np.int64)
    rows, columns = (length // TILE * TILE for length in shape[1:])
    images: NDArray[np.float32] = np.ascontiguousarray(inputs[chosen][..., :rows, :columns])
    moved = np.ascontiguousarray(np.roll(images, (BLOCK // 2, BLOCK // 2), (2, 3)))
    losses = {step: _loss(images, quality, bounds) for step, quality in QUALITIES.items()}
    sizes = {step: float(np.median(loss)) for step, loss in losses.items()}
    best, second = sorted(sizes, key=sizes.__getitem__)[:2]
    share = float(np.median(losses[best] / _loss(moved, QUALITIES[best], bounds)))
    return best if share < CLEARLY and sizes[second] > STANDS_OUT * sizes[best] else None


def _loss(images: NDArray[np.float32], quality: int, bounds: tuple[float, float]) -> NDArray[np.float64]:
    """Mean change (N,) of every image under a round trip."""
    apart = np.abs(round_trip(images, quality, bounds) - images).mean((1, 2, 3), dtype=np.float64)
    found: NDArray[np.float64] = np.maximum(apart, 1e-12)
    return found
