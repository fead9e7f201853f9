"""The networks whose speed is measured: three ImageNet shapes in plain torch, and the Fashion-MNIST models.

Weights are random, for only the shapes of the arithmetic matter, but the networks are *well behaved*:
BatchNorm statistics are those of the activations, so that no layer overflows, dies or computes with
denormal numbers, which would be timed instead of the network.

Sources: ResNet-50 (He et al., CVPR 2016; stride in the 3×3 convolution, as everybody has it since),
MobileNetV2 (Sandler et al., CVPR 2018), ViT-tiny (Dosovitskiy et al., ICLR 2021, in the size of DeiT-Ti,
Touvron et al., ICML 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.robustness import networks as fashion
from benchmarks.robustness.layers import EncoderLayer
from nip_export.demo import model as demo

Images = NDArray[np.float32]
"""(N, C, H, W) in [0, 1]."""

CLASSES = 1000
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SETTLING_BATCHES = 2
SETTLING_IMAGES = 8


class Name(StrEnum):
    """Which network."""

    RESNET50 = "resnet50"
    MOBILENETV2 = "mobilenetv2"
    VIT_TINY = "vit-tiny"
    FASHION_VGG = "fashion-vgg"
    FASHION_RESNET = "fashion-resnet"
    FASHION_VIT = "fashion-vit"


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is known of a network before it is made.

    Attributes:
        name: which.
        title: as tables print it.
        shape: (C, H, W) of one image.
        classes: number of logits.
        parameters: trained numbers, as published where the network is.
        mean: per channel, subtracted by the exported file.
        std: per channel, divides after it.
        factory: makes it with whatever torch's generator gives.
    """

    name: Name
    title: str
    shape: tuple[int, int, int]
    classes: int
    parameters: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    factory: Callable[[], nn.Module]

    @property
    def large(self) -> bool:
        """Whether it takes images of 224²."""
        return self.shape[-1] == SIDE


def conv_norm(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its BatchNorm, "same" padding."""
    return [
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around a shortcut."""

    def __init__(self, inputs: int, width: int, *, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *conv_norm(inputs, width, 1),
            nn.ReLU(),
            *conv_norm(width, width, 3, stride=stride),
            nn.ReLU(),
            *conv_norm(width, outputs, 1),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*conv_norm(inputs, outputs, 1, stride=stride))
        )
        self.activation = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.activation(self.body(maps) + self.shortcut(maps))
        return result


class ResNet50(nn.Module):
    """Stem, 3 + 4 + 6 + 3 bottlenecks, global pooling; 25.557 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
        inputs, stages = 64, list[nn.Module]()
        for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            members = []
            for index in range(blocks):
                members.append(Bottleneck(inputs, width, stride=stride if index == 0 else 1))
                inputs = 4 * width
            stages.append(nn.Sequential(*members))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(inputs, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.flatten(self.pool(self.stages(self.stem(images)))))
        return logits


class InvertedResidual(nn.Module):
    """Expansion, depthwise 3×3 convolution, linear projection."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*conv_norm(inputs, width, 1), nn.ReLU6()]
        layers += [*conv_norm(width, width, 3, stride=stride, groups=width), nn.ReLU6()]
        self.body = nn.Sequential(*layers, *conv_norm(width, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = maps + self.body(maps) if self.residual else self.body(maps)
        return result


class MobileNetV2(nn.Module):
    """Width 1; 3.505 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 32
        layers: list[nn.Module] = [*conv_norm(3, inputs, 3, stride=2), nn.ReLU6()]
        for expansion, outputs, blocks, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for index in range(blocks):
                first = stride if index == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, stride=first, expansion=expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, *conv_norm(inputs, 1280, 1), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(1280, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.flatten(self.pool(self.features(images)))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


class TakeClassToken(nn.Module):
    """The first of the tokens (N, T, D): (N, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class ViTTiny(nn.Module):
    """Patches of 16×16, width 192, twelve layers of three heads, a class token; 5.717 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        width = 192
        self.embed = nn.Conv2d(3, width, 16, 16)
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 197, width))
        self.layers = nn.Sequential(*(EncoderLayer(width, 3, growth=4, eps=1e-6) for _ in range(12)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.take = TakeClassToken()
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.class_token.expand(images.shape[0], -1, -1), patches), 1) + self.positions
        logits: Tensor = self.classifier(self.take(self.norm(self.layers(tokens))))
        return logits


def _large(name: Name, title: str, parameters: int, factory: Callable[[], nn.Module]) -> Network:
    shape = (3, SIDE, SIDE)
    return Network(
        name=name,
        title=title,
        shape=shape,
        classes=CLASSES,
        parameters=parameters,
        mean=MEAN,
        std=STD,
        factory=factory,
    )


def _small(name: Name, title: str, parameters: int, kind: fashion.Kind) -> Network:
    return Network(
        name=name,
        title=title,
        shape=(1, 28, 28),
        classes=fashion.CLASSES,
        parameters=parameters,
        mean=demo.MEAN,
        std=demo.STD,
        factory=fashion.FACTORIES[kind],
    )


NETWORKS: dict[Name, Network] = {
    network.name: network
    for network in (
        _large(Name.RESNET50, "ResNet-50", 25_557_032, ResNet50),
        _large(Name.MOBILENETV2, "MobileNetV2", 3_504_872, MobileNetV2),
        _large(Name.VIT_TINY, "ViT-tiny", 5_717_416, ViTTiny),
        _small(Name.FASHION_VGG, "Fashion-MNIST VGG", 147_162, fashion.Kind.VGG),
        _small(Name.FASHION_RESNET, "Fashion-MNIST ResNet", 77_754, fashion.Kind.RESNET),
        _small(Name.FASHION_VIT, "Fashion-MNIST ViT", 138_890, fashion.Kind.VIT),
    )
}


def images_of(network: Network, count: int, *, seed: int) -> Images:
    """Seeded images (count, C, H, W) float32 in [0, 1]: coarse patches of colour under fine noise.

    White noise alone would look the same to a network, image for image.
    """
    random = np.random.default_rng(seed)
    channels, height, width = network.shape
    cell = height // 7
    patches = random.random((count, channels, 7, 7), dtype=np.float32)
    coarse = patches.repeat(cell, axis=2).repeat(cell, axis=3)[:, :, :height, :width]
    contrast = random.random((count, 1, 1, 1), dtype=np.float32)
    fine = random.random((count, *network.shape), dtype=np.float32)
    images: Images = np.clip(contrast * coarse + (1 - contrast) * fine, 0, 1)
    return images


def make(network: Network, *, seed: int = 0) -> nn.Module:
    """The network with seeded weights and BatchNorm statistics of its own activations, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network.factory()
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0.0, 0.1)
            norm.momentum = None  # statistics become the mean over all batches that pass
        if norms:
            settle(model, network, seed)
        for norm in norms:
            norm.momentum = 0.1
    return model.eval().requires_grad_(False)


def settle(model: nn.Module, network: Network, seed: int) -> None:
    """Let BatchNorm layers see a few batches, dropout off."""
    mean = torch.tensor(network.mean).reshape(1, -1, 1, 1)
    std = torch.tensor(network.std).reshape(1, -1, 1, 1)
    model.eval()
    for module in model.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
    with torch.no_grad():
        for batch in range(SETTLING_BATCHES):
            images = torch.from_numpy(images_of(network, SETTLING_IMAGES, seed=seed + 1000 + batch))
            model((images - mean) / std)
