"""The benchmark's networks by data set: kinds that the gate was developed with, and kinds that it was not.

Those of Fashion-MNIST take *normalised* images (N, 1, 28, 28) float32 and return logits (N, 10).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.robustness.cifar_networks import CifarMobile, CifarResNet, CifarVgg, CifarVit
from benchmarks.robustness.layers import EncoderLayer
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
    CIFAR_RESNET20 = "cifar-resnet20"
    """CIFAR-10, third-party weights. The form of the gate was chosen on this one too."""
    CIFAR_RESNET56 = "cifar-resnet56"
    """CIFAR-10, third-party weights. Looked at once, at the end."""
    CIFAR_VGG = "cifar-vgg"
    """CIFAR-10, trained here. Looked at once, at the end."""
    CIFAR_VIT = "cifar-vit"
    """CIFAR-10, a transformer on a convolutional stem, trained here. Round trip, grain and the rule for ρ
    were chosen on the first one, after it had been looked at; the second was looked at once, at the end."""

    CIFAR_MOBILE = "cifar-mobile"
    """CIFAR-10, depthwise convolutions with squeeze and excitation, trained here. Looked at once, at the end."""

    @property
    def is_cifar(self) -> bool:
        """Whether it classifies CIFAR-10 images, not Fashion-MNIST."""
        return self.value.startswith("cifar-")


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
    Kind.CIFAR_RESNET20: partial(CifarResNet, 3),
    Kind.CIFAR_RESNET56: partial(CifarResNet, 9),
    Kind.CIFAR_VGG: CifarVgg,
    Kind.CIFAR_VIT: CifarVit,
    Kind.CIFAR_MOBILE: CifarMobile,
}


def kind_of(name: str) -> Kind:
    """The kind of a network such as "vgg-1", "vgg-1-pgd" or "cifar-resnet20"."""
    plain = name.removesuffix("-pgd")
    return Kind(plain) if plain in list(Kind) else Kind(plain.rpartition("-")[0])
