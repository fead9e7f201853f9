"""The demo's classifier: a VGG-style network small enough to train on a laptop in minutes."""

from __future__ import annotations

import torch
from torch import nn

MEAN = (0.286,)
"""Mean grey value of Fashion-MNIST's training images in [0, 1]; the exported file subtracts it."""

STD = (0.353,)
"""Standard deviation of the same; the exported file divides by it."""


class SmallVgg(nn.Module):
    """Three blocks of two 3×3 convolutions, then one hidden layer (147 thousand parameters).

    Expects *normalised* images: the normalisation by :data:`MEAN` and :data:`STD` belongs to the exported
    file (`ExportConfig(mean=…, std=…)`), so that pixel bounds and ε keep their meaning outside.

    Input (N, 1, 28, 28) float32, output logits (N, classes) float32.
    """

    def __init__(
        self, *, widths: tuple[int, ...] = (16, 32, 64), hidden: int = 128, classes: int = 10
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in widths:
            for inputs in (channels, width):
                layers += [
                    nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
            layers.append(nn.MaxPool2d(2))
            channels = width
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(channels * 3 * 3, hidden)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of normalised images (N, 1, 28, 28)."""
        hidden = self.activation(self.hidden(self.flatten(self.features(images))))
        logits: torch.Tensor = self.classifier(self.dropout(hidden))
        return logits
