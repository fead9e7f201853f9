"""A small colour network and pictures stored as JPEG: its file minds grain, its view begins with JPEG."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.photographs import encoded, photograph

QUALITY, COUNT, SIDE, CLASSES = 75, 420, 24, 3
Pixels = NDArray[np.uint8]


def pictures(seed: int = 0) -> tuple[Pixels, NDArray[np.int64]]:
    """Cuttings of a scene with a tint for each class, uint8 (N, side, side, 3), never stored as anything."""
    scene, random = photograph(120, 160).astype(np.float32), np.random.default_rng(seed)
    labels = np.arange(COUNT) % CLASSES
    tints = 18 * np.eye(CLASSES)[labels] + random.normal(0, 8, (COUNT, CLASSES))
    places = random.integers(0, (120 - SIDE, 160 - SIDE), (COUNT, 2))
    images = [
        0.6 * scene[top : top + SIDE, left : left + SIDE] + 40 + tint
        for (top, left), tint in zip(places, tints, strict=True)
    ]
    return np.stack(images).clip(0, 255).astype(np.uint8), labels.astype(np.int64)


def stored_pictures(seed: int = 0) -> tuple[Pixels, NDArray[np.int64]]:
    """The same, once written and read as JPEG."""
    images, labels = pictures(seed)
    return np.stack([encoded(image, QUALITY) for image in images]), labels


def trained(images: Pixels, labels: NDArray[np.int64]) -> nn.Module:
    """A network that tells the tints."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES),
    )  # fmt: skip
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(120):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), torch.from_numpy(labels)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model.eval()
