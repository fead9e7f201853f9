"""The attacker's own network: another architecture, trained on the same images, for transfer attacks."""

from __future__ import annotations

from torch import Tensor, nn


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.middle, self.end = nn.ReLU(), nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        """Activations (N, outputs, H', W') of activations (N, inputs, H, W)."""
        hidden = self.middle(self.first_norm(self.first(values)))
        result: Tensor = self.end(self.second_norm(self.second(hidden)) + self.shortcut(values))
        return result


class SmallResNet(nn.Module):
    """A stem, three residual blocks, global average pooling (78 thousand parameters).

    Expects normalised images (N, 1, 28, 28) float32, as the demo's network does.
    """

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 1, 28, 28)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.blocks(self.stem(images)))))
        return logits
