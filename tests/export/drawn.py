"""Images that are drawn on the spot or come with scikit-learn, and a network that learns them in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # no py.typed
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export import ExportConfig

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
BUDGET = 0.05


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images uint8 (N, H, W) with labels int64 (N,)."""

    images: Pixels
    labels: Labels

    @property
    def inputs(self) -> NDArray[np.float32]:
        """As the network takes them: float32 (N, 1, H, W) in [0, 1]."""
        return np.ascontiguousarray(self.images[:, None].astype(np.float32) / np.float32(255))

    def take(self, rows: NDArray[Any] | slice) -> Drawn:
        """Some of them."""
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def of(self, classes: tuple[int, ...]) -> Drawn:
        """Those of some classes."""
        return self.take(np.isin(self.labels, classes))


def digits() -> Drawn:
    """scikit-learn's 1797 handwritten digits of 8×8 pixels, shuffled."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return Drawn(
        (found.images * 15.9375).round().astype(np.uint8)[order], found.target[order].astype(np.int64)
    )


def arrows(count: int, *, seed: int) -> Drawn:
    """Arrows to the left (0) and to the right (1) in 16×16 pixels: a mirror makes one of the other.

    Some are so faint among the noise that a network takes them for the other.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=count)
    images = np.empty((count, 16, 16), np.uint8)
    for row, right in enumerate(labels):
        canvas = np.zeros((16, 16), np.uint8)
        length, height, down = random.integers(7, 11), random.integers(4, 12), random.integers(-1, 2)
        start = int(random.integers(2, 14 - length))
        ends = (start, int(height)), (start + int(length), int(height + down))
        tail, head = ends if right else ends[::-1]
        strength = int(random.integers(40, 230))
        cv2.arrowedLine(canvas, tail, head, strength, 1, cv2.LINE_AA, tipLength=0.45)
        noisy = canvas.astype(np.float64) + random.normal(scale=30, size=canvas.shape)
        images[row] = noisy.clip(0, 255).round()
    return Drawn(images, labels)


def blobs(count: int, *, seed: int) -> Drawn:
    """Ten classes of smooth patterns in 12×12 pixels, moved about, mixed with each other and noisy."""
    patterns = np.random.default_rng(7).normal(size=(10, 4, 4)).astype(np.float32)
    large = np.stack([cv2.resize(pattern, (14, 14), interpolation=cv2.INTER_CUBIC) for pattern in patterns])
    random = np.random.default_rng(seed)
    labels, others = random.integers(10, size=(2, count))
    share = random.uniform(0, 0.45, size=(count, 1, 1))
    mixed = (1 - share) * large[labels] + share * large[others]
    rows, columns = random.integers(3, size=(2, count))
    placed = np.stack(
        [
            image[row : row + 12, column : column + 12]
            for image, row, column in zip(mixed, rows, columns, strict=True)
        ]
    )
    noisy = 128 + 40 * placed + random.normal(scale=25, size=placed.shape)
    return Drawn(noisy.clip(0, 255).round().astype(np.uint8), labels)


class ConvNet(nn.Module):
    """Three convolutions, pooled to features by channel, and a linear classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, 1, 1),
            nn.ReLU(),
        )
        self.head = nn.Linear(48, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C)."""
        logits: Tensor = self.head(self.body(x).mean((2, 3)))
        return logits


def trained(data: Drawn, classes: int, *, steps: int) -> nn.Module:
    """A network fitted to images from one seed, in eval mode."""
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ConvNet(classes)
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
        for _ in range(steps):
            rows = torch.randint(len(inputs), (64,))
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
            optimiser.step()
            schedule.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model.eval()


def quick(**changes: Any) -> ExportConfig:
    """Export settings that are quick rather than strong."""
    settings: dict[str, Any] = {"benign_budget": BUDGET, "ascent_steps": 5, "seed": 3}
    return ExportConfig(**{**settings, **changes})
