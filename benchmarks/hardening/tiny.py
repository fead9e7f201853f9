"""The smallest network worth exporting: what happens to its file takes no longer than it must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nip_export import ExportConfig
from nip_export.pipeline import Prepared, prepare_defence

SEED: Final = 11
IMAGES: Final = 400


class Tiny(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, 2, 1)
        self.second = nn.Conv2d(4, 4, 3, 2, 1)
        self.last = nn.Linear(4 * 9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 3) of (N, 1, 12, 12)."""
        x = torch.relu(self.second(torch.relu(self.first(x))))
        logits: torch.Tensor = self.last(x.flatten(1))
        return logits


@dataclass(frozen=True, eq=False)
class Exporter:
    """Exports of one tiny trained network.

    Attributes:
        model: the network.
        images: (N, 1, 12, 12) float32.
        labels: (N,).
    """

    model: nn.Module
    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def prepare(self) -> Prepared:
        """Do all but cutting the thresholds and writing the file."""
        config = ExportConfig(ascent_steps=1, top_k=2, seed=SEED)
        return prepare_defence(self.model, self.images, self.labels, calibration=None, config=config)


def exporter() -> Exporter:
    """Train a network on three kinds of bars."""
    random = np.random.default_rng(SEED)
    labels = random.integers(0, 3, IMAGES)
    images = random.uniform(0, 0.3, (IMAGES, 1, 12, 12)).astype(np.float32)
    for kind in range(3):
        images[labels == kind, :, 4 * kind : 4 * kind + 4] += 0.6
    torch.manual_seed(SEED)
    model = Tiny()
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        optimiser.step()
    return Exporter(model.eval(), images, labels.astype(np.int64))
