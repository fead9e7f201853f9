"""Grain: how restless an image's colours are from pixel to pixel. Free, for no network is asked.

Cameras see one colour a pixel, encoders store colours at half the resolution, and nearly every photograph has
been through both: its colour *differences* change slowly, at any size. Perturbations move every channel of
every pixel by itself. So grain tells what to look at twice. It flags nothing: noise has grain, too, and is no
attack; and a perturbation of brightness alone has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

GRAIN = "nip/grain"
"""Under which name a pass over images keeps it among what it pooled."""
COLOURS = 3
SIDE = 3
BEND_WEIGHT = 4
BEND = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / BEND_WEIGHT
"""Second differences along rows and columns at once: zero where values rise evenly either way."""


def kernels() -> NDArray[np.float32]:
    """(2, 3, 3, 3) float32: red minus green and blue minus green, bent."""
    found = np.zeros((2, COLOURS, SIDE, SIDE), np.float32)
    for row, colour in enumerate((0, 2)):
        found[row, colour], found[row, 1] = BEND, -BEND
    return found


def has_grain(shape: Sequence[int]) -> bool:
    """Whether inputs of a per-sample shape are colour images of at least 3 × 3 pixels."""
    return len(shape) == 3 and shape[0] == COLOURS and min(shape[1:]) >= SIDE


def grain(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean size (N, 1) of the bends of colour differences of images (N, 3, H, W), in input units."""
    bent = np.stack([images[:, 0] - images[:, 1], images[:, 2] - images[:, 1]], 1)
    bent = bent[..., :-2, :] - 2 * bent[..., 1:-1, :] + bent[..., 2:, :]
    bent = (bent[..., :-2] - 2 * bent[..., 1:-1] + bent[..., 2:]) / BEND_WEIGHT
    found: NDArray[np.float32] = np.abs(bent).mean((1, 2, 3), dtype=np.float64)[:, None].astype(np.float32)
    return found


def grain_torch(images: Tensor) -> Tensor:
    """:func:`grain` on tensors."""
    weight = torch.from_numpy(kernels()).to(images)
    return functional.conv2d(images, weight).abs().mean((1, 2, 3))[:, None]


def pooled_grain(images: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    """The grain of inputs (N, *shape) under its name; nothing of inputs that have none."""
    return {GRAIN: grain(images)} if has_grain(images.shape[1:]) else {}
