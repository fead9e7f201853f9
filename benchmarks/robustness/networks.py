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
from nip_export.demo.surrogate import SmallResNet

CLASSES = 10


class Kind(StrEnum):
    """Which architecture."""

    VGG = "vgg"
    """The demo's: convolutions, max pooling, one hidden layer. The gate's form was found on one of these."""
    RESNET = "resnet"
    """Residual blocks and global pooling. One of these was looked at once, after the form stood."""
    VIT = "vit"
    """A vision transformer: no convolution but the patch embedding. The kind nothing was tuned on."""


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward of `growth` times the width."""

    def __init__(self, width: int, heads: int, *, growth: int = 2, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.queries_keys_values, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.act, self.contract = (
            nn.Linear(width, growth * width),
            nn.GELU(),
            nn.Linear(growth * width, width),
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
    """Patches of 4×4, four encoder layers of width 64, mean over tokens (139 thousand parameters)."""

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
