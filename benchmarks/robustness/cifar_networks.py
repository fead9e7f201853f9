"""The CIFAR-10 networks of the robustness benchmark: two of other people's training, two of our own.

All take *normalised* images (N, 3, 32, 32) float32 and return logits (N, 10).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.robustness.layers import EncoderLayer

CLASSES = 10
MEAN = (0.485, 0.456, 0.406)
"""What the third-party weights were trained with: the usual values of ImageNet. Ours take the same."""
STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut without weights (He et al. 2016, option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(values)))))
        shortcut = values
        if self.stride != 1 or self.missing:
            half = self.missing // 2
            shortcut = functional.pad(
                values[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.missing - half)
            )
        return functional.relu(hidden + shortcut)


class CifarResNet(nn.Module):
    """6n + 2 layers of widths 16, 32, 64; the names of its parameters are those of the public weights."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, CLASSES)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        values = functional.relu(self.bn1(self.conv1(images)))
        values = self.layer3(self.layer2(self.layer1(values)))
        logits: Tensor = self.linear(values.mean((2, 3)))
        return logits


class CifarVgg(nn.Module):
    """Three blocks of two 3×3 convolutions, max pooling, one hidden layer (0.8 million parameters)."""

    def __init__(self, *, widths: tuple[int, ...] = (32, 64, 128), hidden: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
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
        self.hidden = nn.Linear(channels * 4 * 4, hidden)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(hidden, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.activation(self.hidden(self.flatten(self.features(images))))
        logits: Tensor = self.classifier(self.dropout(hidden))
        return logits


class CifarVit(nn.Module):
    """Four encoder layers of width 128 on the 64 tokens of a convolutional stem (0.6 million parameters)."""

    def __init__(self, *, width: int = 128, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 1, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, width, 3, 2, 1),
        )
        self.positions = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.layers = nn.Sequential(*(EncoderLayer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.classifier(self.norm(self.layers(tokens)).mean(1))
        return logits


class InvertedResidual(nn.Module):
    """Widening, depthwise 3×3, squeeze and excitation, narrowing (MobileNetV3; Howard et al. 2019)."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, expansion: int = 4) -> None:
        super().__init__()
        wide = inputs * expansion
        self.widen = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish()
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(wide, wide // 4, 1),
            nn.ReLU(),
            nn.Conv2d(wide // 4, wide, 1),
            nn.Hardsigmoid(),
        )
        self.narrow = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.depthwise(self.widen(values))
        narrowed: Tensor = self.narrow(hidden * self.squeeze(hidden))
        return values + narrowed if self.residual else narrowed


class CifarMobile(nn.Module):
    """Inverted residuals with squeeze and excitation, as phones run them (0.25 million parameters)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        blocks, channels = [], 16
        for width, repeats, stride in ((24, 2, 2), (40, 3, 2), (80, 2, 1)):
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, width, stride if index == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Conv2d(channels, 240, 1, bias=False), nn.BatchNorm2d(240), nn.Hardswish()
        )
        self.classifier = nn.Linear(240, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        values = self.head(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(values.mean((2, 3)))
        return logits
