"""The networks of the robustness benchmark: two kinds the gate was developed with, one it was not.

All take *normalised* images (N, 1, 28, 28) float32 and return logits (N, 10).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

from nip_export.demo.model import SmallVgg

CLASSES = 10


class Kind(StrEnum):
    """Which architecture."""

    VGG = "vgg"
    """The demo's: convolutions, max pooling, one hidden layer. The gate's form was found on one of these."""
    RESNET = "resnet"
    """Residual blocks and global pooling. One of these was looked at once, after the form stood."""
    VIT = "vit"
    """A vision transformer: no convolution but the patch embedding. The kind nothing was tuned on."""


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
        hidden = self.middle(self.first_norm(self.first(values)))
        result: Tensor = self.end(self.second_norm(self.second(hidden)) + self.shortcut(values))
        return result


class SmallResNet(nn.Module):
    """A stem, three residual blocks, global average pooling (78 thousand parameters)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.flatten(self.pool(self.blocks(self.stem(images)))))
        return logits


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.act, self.contract = (
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        rows, count, width = tokens.shape
        mixed = self.queries_keys_values(self.attention_norm(tokens))
        mixed = mixed.reshape(rows, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(mixed[0], mixed[1], mixed[2])
        tokens = tokens + self.projection(attended.transpose(1, 2).reshape(rows, count, width))
        result: Tensor = tokens + self.contract(self.act(self.expand(self.feed_norm(tokens))))
        return result


class SmallViT(nn.Module):
    """Patches of 4×4, four encoder layers of width 64, mean over tokens (144 thousand parameters)."""

    def __init__(self) -> None:
        super().__init__()
        width = 64
        self.embed = nn.Conv2d(1, width, 4, 4)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 49, width))
        self.layers = nn.Sequential(*(EncoderLayer(width, 4) for _ in range(4)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.classifier(self.norm(self.layers(tokens)).mean(1))
        return logits


FACTORIES: dict[Kind, Callable[[], nn.Module]] = {
    Kind.VGG: SmallVgg,
    Kind.RESNET: SmallResNet,
    Kind.VIT: SmallViT,
}
