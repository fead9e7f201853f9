"""Small, seeded networks that stand for the architectures an export must cope with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10


def seeded(factory: Callable[[], nn.Module], *, seed: int = 0) -> nn.Module:
    """Build a network with fixed weights, without disturbing the caller's random state.

    BatchNorm statistics and affine parameters are drawn too: at their defaults (0 and 1) a
    folding error would not show.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = factory()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0.0, 0.2)
                module.running_var.uniform_(0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.2)
        return model.eval()


def conv_bn_relu(inputs: int, outputs: int, *, stride: int = 1, inplace: bool = True) -> list[nn.Module]:
    """A 3x3 convolution, its BatchNorm and a ReLU."""
    return [
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=inplace),
    ]


class SmallVgg(nn.Module):
    """VGG with BatchNorm: blocks of conv-BN-ReLU and pooling, then a classifier with dropout."""

    def __init__(
        self, *, channels: int = 1, widths: tuple[int, ...] = (16, 32, 32), hidden: int = 64
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            layers += [*conv_bn_relu(channels, width), *conv_bn_relu(width, width), nn.MaxPool2d(2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.pool(self.features(x)))
        return logits


class BasicBlock(nn.Module):
    """Residual block whose addition is functional and whose single ReLU module fires twice."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Feature map (N, outputs, H/stride, W/stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        activated: Tensor = self.relu(out)
        return activated


class SmallResNet(nn.Module):
    """Residual network in torchvision's form: functional flatten before the classifier."""

    def __init__(self, *, channels: int = 3, widths: tuple[int, ...] = (16, 32, 48), depth: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages: list[nn.Module] = []
        inputs = widths[0]
        for index, width in enumerate(widths):
            blocks: list[nn.Module] = []
            for step in range(depth):
                blocks.append(BasicBlock(inputs, width, stride=2 if index and not step else 1))
                inputs = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, C, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


class PreActNet(nn.Module):
    """Pre-activation residual block: BatchNorm stands before ReLU, so not every one can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv1 = nn.Conv2d(16, 16, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, 1, 1, bias=False)
        self.last = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 3, H, W)."""
        x = self.stem(x)
        inner = self.conv1(F.relu(self.bn1(x)))
        x = x + self.conv2(F.relu(self.bn2(inner)))
        x = F.relu(self.last(x)).mean((2, 3))
        logits: Tensor = self.fc(x)
        return logits


class InvertedResidual(nn.Module):
    """MobileNetV2 block: expand, depthwise, project (linear), residual where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expand: int = 4) -> None:
        super().__init__()
        hidden = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Feature map (N, outputs, H/stride, W/stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class SmallMobileNet(nn.Module):
    """Depthwise separable network with functional pooling, like torchvision's MobileNetV2."""

    def __init__(self, *, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(channels, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True)
            ),
            InvertedResidual(16, 16, stride=1),
            InvertedResidual(16, 24, stride=2),
            InvertedResidual(24, 24, stride=1),
            nn.Sequential(nn.Conv2d(24, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6(inplace=True)),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, C, H, W)."""
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


class Attention(nn.Module):
    """Multi-head self-attention through `scaled_dot_product_attention`, as timm writes it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, D) in, tokens (N, T, D) out."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(batch, tokens, dim))
        return out


class EncoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, D) in, tokens (N, T, D) out."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SmallViT(nn.Module):
    """Plain vision transformer with a class token; attention by torch's function or torch's own layer."""

    def __init__(
        self,
        *,
        channels: int = 3,
        size: int = 16,
        patch: int = 4,
        dim: int = 32,
        depth: int = 4,
        builtin: bool = False,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, dim) * 0.02)
        blocks: list[nn.Module] = [
            nn.TransformerEncoderLayer(dim, 4, 2 * dim, 0.1, "gelu", batch_first=True, norm_first=True)
            if builtin
            else EncoderBlock(dim, 4)
            for _ in range(depth)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, C, size, size)."""
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1) + self.pos_embed
        x = self.norm(self.blocks(x))
        logits: Tensor = self.head(x[:, 0])
        return logits


class AudioConv1d(nn.Module):
    """One-dimensional convolutions over a waveform (N, 1, T)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for width in (16, 24, 32, 48):
            layers += [nn.Conv1d(inputs, width, 9, 4, 4, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of waveforms (N, 1, T)."""
        logits: Tensor = self.fc(self.body(x).mean(-1))
        return logits


class Mlp(nn.Module):
    """Fully connected network on vectors (N, T)."""

    def __init__(self, *, inputs: int = 40, hidden: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of vectors (N, T)."""
        logits: Tensor = self.net(x)
        return logits


@dataclass(frozen=True)
class ModelCase:
    """One test network: how to build it and the shape of one sample."""

    name: str
    factory: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def build(self, *, seed: int = 0) -> nn.Module:
        """The network in eval mode with seeded weights."""
        return seeded(self.factory, seed=seed)

    def batch(self, size: int, *, seed: int = 1) -> Tensor:
        """Seeded inputs (size, *shape), float32 in [0, 1]."""
        return torch.rand(size, *self.shape, generator=torch.Generator().manual_seed(seed))


CASES: tuple[ModelCase, ...] = (
    ModelCase("vgg", SmallVgg, (1, 28, 28)),
    ModelCase("resnet", SmallResNet, (3, 24, 24)),
    ModelCase("preact", PreActNet, (3, 16, 16)),
    ModelCase("mobilenet", SmallMobileNet, (3, 32, 32)),
    ModelCase("vit", SmallViT, (3, 16, 16)),
    ModelCase("vit_builtin", lambda: SmallViT(builtin=True), (3, 16, 16)),
    ModelCase("audio", AudioConv1d, (1, 1024)),
    ModelCase("mlp", Mlp, (40,)),
)


def case(name: str) -> ModelCase:
    """The test network called `name`."""
    return next(c for c in CASES if c.name == name)
