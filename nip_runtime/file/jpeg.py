"""Numbers of a round trip through JPEG as arithmetic that a graph can hold: no bit stream, the same loss.

Images that were stored as JPEG lie on a lattice: in blocks of 8×8 their cosine coefficients are multiples
of the steps that the quality stands for. A small change leaves the lattice; the round trip puts it back.
Steps and colours are those of the standard (ITU-T T.81, annex K; JFIF), colour at half the resolution, as
nearly every encoder does it.

What is rounded is exact in every runtime: levels, luminance and coefficients are whole numbers below 2²⁴
until they are rounded, whatever order a matrix product adds them in. Only the way back is ordinary float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.manifest import ViewStep

Floats = NDArray[np.float32]

QUALITIES = {step: step.quality for step in ViewStep if step.quality is not None}
"""The quality that each of these steps of a view stands for."""

BLOCK = 8
WHOLE = 255
MIDDLE = 128
BITS = 11
"""Binary places of the cosines."""
KEPT_BITS = 2
"""Binary places of what lies between the two products of a transform."""
COLOUR_BITS = 16
LUMA = (19595, 38470, 7471)
"""Of red, green and blue, in 65,536ths."""
BLUE = (-11059, -21709, 32768)
RED = (32768, -27439, -5329)
RED_BACK, GREEN_BACK, BLUE_BACK = 1.402, (-0.344136, -0.714136), 1.772

_HALF_COSINES = (
    0.5,
    0.4903926402016152,
    0.46193976625564337,
    0.4157348061512726,
    0.35355339059327373,
    0.2777851165098011,
    0.19134171618254492,
    0.09754516100806417,
)
"""½ · cos(k π / 16), k = 0 to 7, spelled out: a file's numbers are compared with these to the last bit, and
processors' cosines differ there."""

_LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOUR_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK for _ in range(4)),
)


@dataclass(frozen=True, eq=False)
class Plane:
    """Numbers of the round trip of one kind of plane, H × W pixels, as h × w coefficients.

    Attributes:
        columns: (W, w), whole numbers: blocks' cosines along the width, edges repeated and, of colours, two
            pixels added up.
        rows: (H, h), likewise along the height.
        between: what the first product is multiplied by before it is rounded: a power of two.
        per_step: (w, h): the second product times this counts steps of the lattice.
        steps: (w, h): the steps, whole numbers from 1 to 255.
        rows_back: (h, H): from coefficients to pixels, of colours through the weighted mean of neighbours.
        columns_back: (w, W).

    All stand on the right of a product, between two turns of the image: onnxruntime multiplies no matrix with
    no rows from the left.
    """

    columns: Floats
    rows: Floats
    between: float
    per_step: Floats
    steps: Floats
    rows_back: Floats
    columns_back: Floats


@lru_cache(maxsize=64)
def planes(height: int, width: int, quality: int, *, colours: bool) -> tuple[Plane, ...]:
    """Of luminance alone, or of luminance and of both colours, for images of a size.

    Args:
        height: of the images, pixels.
        width: likewise.
        quality: 1 to 100, as encoders count it.
        colours: whether the images have any; luminance is then padded to 16 pixels, not 8, as encoders do.
    """
    luma = _plane(height, width, _steps(_LUMA_STEPS, quality), multiple=16 if colours else 8, halved=False)
    if not colours:
        return (luma,)
    return luma, _plane(height, width, _steps(_COLOUR_STEPS, quality), multiple=16, halved=True)


def _steps(table: tuple[tuple[int, ...], ...], quality: int) -> NDArray[np.float64]:
    """The standard's steps at a quality, by the rule of the Independent JPEG Group."""
    percent = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((np.array(table) * percent + 50) / 100), 1, WHOLE)


def _plane(height: int, width: int, steps: NDArray[np.float64], *, multiple: int, halved: bool) -> Plane:
    rows, rows_back = _axis(height, multiple, halved=halved)
    columns, columns_back = _axis(width, multiple, halved=halved)
    tiled = np.tile(steps, (rows.shape[1] // BLOCK, columns.shape[1] // BLOCK)).T
    added = 1 if halved else 0  # pixels are added up, not averaged: the sum is twice as large along each axis
    return Plane(
        columns=columns.astype(np.float32),
        rows=rows.astype(np.float32),
        between=2.0 ** (KEPT_BITS - BITS - added),
        per_step=(2.0 ** -(KEPT_BITS + BITS + added) / tiled).astype(np.float32),
        steps=tiled.astype(np.float32),
        rows_back=rows_back.astype(np.float32),
        columns_back=columns_back.astype(np.float32),
    )


def _axis(length: int, multiple: int, *, halved: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels to coefficients in whole numbers (length, m), and back (m, length), along one axis."""
    padded = -(-length // multiple) * multiple
    to_padded = np.eye(length)[np.minimum(np.arange(padded), length - 1)]
    size = padded // 2 if halved else padded
    gathered = to_padded[0::2] + to_padded[1::2] if halved else to_padded
    blocks = np.eye(size // BLOCK)
    spread = _doubled(size) if halved else np.eye(size)
    back = spread @ np.kron(blocks, _cosines().T)
    there = np.kron(blocks, np.rint(_cosines() * 2**BITS)) @ gathered
    return np.ascontiguousarray(there.T), np.ascontiguousarray(back[:length].T)


def _doubled(size: int) -> NDArray[np.float64]:
    """From `size` entries to twice as many (2·size, size): three quarters of the nearest, one of the next."""
    places = (np.arange(2 * size) + 0.5) / 2 - 0.5
    first = np.floor(places).astype(np.int64)
    share = (places - first)[:, None]
    entries = np.eye(size)
    before, after = np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1)
    doubled: NDArray[np.float64] = (1 - share) * entries[before] + share * entries[after]
    return doubled


def _cosines() -> NDArray[np.float64]:
    """The orthonormal cosine transform (8, 8) of eight entries."""
    order = np.arange(BLOCK)
    sixteenths = (2 * order + 1) * order[:, None] % 32
    folded = np.where(sixteenths > 16, 32 - sixteenths, sixteenths)  # cos(2π − x) = cos x
    size = np.array([*_HALF_COSINES, 0.0])[np.where(folded > 8, 16 - folded, folded)]  # cos(π − x) = −cos x
    cosines: NDArray[np.float64] = np.where(folded > 8, -size, size)
    cosines[0] = _HALF_COSINES[4]  # ½ · cos(π/4), for the mean's own length is 1
    return cosines
