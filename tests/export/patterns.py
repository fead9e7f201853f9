"""Tiny untrained classifiers, each with a layer or form that exporters write in a way of its own.

All take (N, 3, 8, 8) and give 4 logits. What matters is which operators come out, not what they say.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS, SIZE, CLASSES = 3, 8, 4
WIDTH = 16
"""A multiple of the blocks in which onnxruntime lays out channels."""


class Then(nn.Module):
    """A function of one tensor as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Residual(nn.Module):
    """What some layers add to their input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


class Attention(nn.Module):
    """Two heads over (N, T, D) tokens, their products written as `product` has it."""

    def __init__(self, product: str, width: int = WIDTH) -> None:
        super().__init__()
        self.product, self.qkv, self.out = product, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
        if self.product == "fused":
            mixed = F.scaled_dot_product_attention(q, k, v)
        elif self.product == "einsum":
            mixed = torch.einsum("nhqk,nhkd->nhqd", torch.einsum("nhqd,nhkd->nhqk", q, k).softmax(-1), v)
        else:
            mixed = ((q @ k.transpose(-2, -1)) * d**-0.5).softmax(-1) @ v
        y: Tensor = x + self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return y


class Recurrent(nn.Module):
    """The last state of a recurrent layer over the rows of a map."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.layer = kind(WIDTH * SIZE, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.layer(x.permute(0, 2, 1, 3).flatten(2))[0]
        return states[:, -1]


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(WIDTH, 4, 1), nn.ReLU(), nn.Conv2d(4, WIDTH, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.gate(x)
        return y


def conv(channels: int = WIDTH, given: int = WIDTH, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, channels, 3, stride, padding=1)


def stem(stride: int = 1) -> list[nn.Module]:
    return [conv(given=CHANNELS, stride=stride), nn.ReLU()]


def head(width: int = WIDTH) -> list[nn.Module]:
    return [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)]


def maps(*layers: nn.Module, width: int = WIDTH) -> nn.Module:
    """A convolutional classifier with some layers in its middle."""
    return nn.Sequential(*stem(), *layers, *head(width))


def tokens(*layers: nn.Module, position: bool = True) -> nn.Module:
    """A classifier over 16 patches with some layers over (N, 16, WIDTH) tokens."""
    where = nn.Parameter(torch.randn(16, WIDTH) * 0.3)
    start = Then(lambda x: x.flatten(2).transpose(1, 2) + where if position else x.flatten(2).transpose(1, 2))
    start.register_parameter("where", where)
    patches = nn.Conv2d(CHANNELS, WIDTH, 2, 2)
    end = [nn.LayerNorm(WIDTH), Then(lambda x: x.mean(1)), nn.Linear(WIDTH, CLASSES)]
    return nn.Sequential(patches, start, *layers, *end)


def channels_last_norm() -> nn.Module:
    norm = nn.LayerNorm(WIDTH)
    layer = Then(lambda x: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    layer.register_module("norm", norm)
    return layer


def mixer() -> nn.Module:
    mixing = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
    norm = nn.LayerNorm(WIDTH)
    layer = Then(lambda x: x + mixing(norm(x).transpose(1, 2)).transpose(1, 2))
    layer.register_module("mixing", mixing)
    layer.register_module("norm", norm)
    return layer


def windows(x: Tensor) -> Tensor:
    """4 × 4 windows folded into the batch and back, as windowed attention does."""
    n, c, h, w = x.shape
    folded = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    folded = (folded @ folded.transpose(1, 2)).softmax(-1) @ folded
    return folded.reshape(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


def bilinear(x: Tensor) -> Tensor:
    """Products of all pairs of channels, averaged over the map."""
    return torch.einsum("nihw,njhw->nij", x, x).flatten(1) / x.shape[-1] ** 2


def bilinear_product(x: Tensor) -> Tensor:
    flat = x.flatten(2)
    return (flat @ flat.transpose(1, 2)).flatten(1) / flat.shape[-1]


def batch_in_the_middle(x: Tensor) -> Tensor:
    """Every place of the map with a matrix of its own: (T, N, D) times (T, D, D)."""
    placed = x.flatten(2).permute(2, 0, 1)
    matrices = torch.linspace(-1, 1, placed.shape[0] * 256).reshape(-1, WIDTH, WIDTH)
    return (placed @ matrices).permute(1, 2, 0).reshape(x.shape)


def padded(mode: str) -> nn.Module:
    return Then(lambda x: F.pad(x, (1, 2, 2, 1), mode))


def resized(**options: object) -> nn.Module:
    return Then(lambda x: F.interpolate(x, **options))  # type: ignore[arg-type]


def swapped(x: Tensor) -> Tensor:
    """The halves of the channels in the other order."""
    return torch.cat(x.chunk(2, 1)[::-1], 1)


def best_places(x: Tensor) -> Tensor:
    return x.flatten(2).topk(5, 2).values[..., None]


def vectors(pooling: Callable[[Tensor], Tensor]) -> nn.Module:
    """A classifier of what a function makes of a map: the products of all pairs of channels."""
    return nn.Sequential(*stem(), conv(), nn.ReLU(), Then(pooling), nn.Linear(WIDTH**2, CLASSES))


def recurrent(kind: type[nn.LSTM] | type[nn.GRU]) -> nn.Module:
    return nn.Sequential(*stem(), Recurrent(kind), nn.Linear(WIDTH, CLASSES))


def plain() -> nn.Module:
    return maps(conv(), nn.ReLU(), conv())


def norms() -> nn.Module:
    instance = nn.InstanceNorm2d(WIDTH, affine=True)
    return maps(
        nn.GroupNorm(4, WIDTH), conv(), instance, nn.LocalResponseNorm(5), conv(), channels_last_norm()
    )


def residuals() -> nn.Module:
    """Sums behind layers where onnxruntime loses sight of the number of rows."""
    shrunk = [conv(stride=2), resized(scale_factor=2)]
    return maps(
        conv(),
        Then(shuffled),
        Residual(conv(), nn.ReLU(), conv()),
        *shrunk,
        Residual(conv(), SqueezeExcite()),
    )


def resizes() -> nn.Module:
    bilinear_to_size = resized(size=(5, 7), mode="bilinear", align_corners=False)
    return maps(bilinear_to_size, conv(), nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2), nn.ReLU(), conv())


def shuffles() -> nn.Module:
    pixels = [nn.PixelShuffle(2), nn.PixelUnshuffle(2)]
    return maps(*pixels, conv(), nn.ChannelShuffle(4), nn.GLU(1), conv(given=WIDTH // 2), Then(swapped))


def pads() -> nn.Module:
    return maps(padded("reflect"), conv(), padded("replicate"), conv(), padded("circular"))


def pools() -> nn.Module:
    return maps(
        nn.AdaptiveMaxPool2d(4), conv(), nn.AdaptiveAvgPool2d(3), conv(), nn.MaxPool2d(2, ceil_mode=True)
    )


def attention() -> nn.Module:
    return tokens(Attention("product"), Attention("fused"), nn.Linear(WIDTH, WIDTH))


PATTERNS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "plain": (plain, False),
    "norms": (norms, False),
    "residuals": (residuals, False),
    "resizes": (resizes, False),
    "shuffles": (shuffles, False),
    "pads": (pads, False),
    "pools": (pools, False),
    "windows": (lambda: maps(Then(windows), conv()), False),
    "best_places": (lambda: maps(conv(), Then(best_places)), False),
    "attention": (attention, False),
    "bilinear_product": (lambda: vectors(bilinear_product), False),
    # What can't be relied on without rows.
    "einsum_attention": (lambda: tokens(Attention("einsum"), nn.Linear(WIDTH, WIDTH)), True),
    "bilinear": (lambda: vectors(bilinear), True),
    "token_mixing": (lambda: tokens(mixer(), mixer()), True),
    "batch_in_the_middle": (lambda: maps(conv(), Then(batch_in_the_middle), conv()), True),
    "lstm": (lambda: recurrent(nn.LSTM), True),
    "gru": (lambda: recurrent(nn.GRU), True),
}
"""By name, how to make it, and whether its file needs a padding row."""


def make(name: str, seed: int = 0) -> nn.Module:
    """The classifier, in evaluation mode, its head set so that random images get every class."""
    torch.manual_seed(seed)
    model = PATTERNS[name][0]().eval()
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        logits = model(torch.rand((256, CHANNELS, SIZE, SIZE)))
        scale = 2 / (logits - logits.mean(0)).std(0)
        last.weight.mul_(scale[:, None])
        last.bias.copy_((last.bias - logits.mean(0)) * scale)
    return model
