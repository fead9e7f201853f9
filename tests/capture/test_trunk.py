"""Taps by dataflow: what module names would mislead about, each on a small network of its kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from nip_export.attach.backbone import export_backbone
from nip_export.network import Capture, TapKind, TapPlan, evaluation_mode, find_taps
from nip_runtime.errors import ExportError
from tests.models import EncoderBlock, conv_bn_relu, seeded

CLASSES = 4


class Same(nn.Conv2d):
    """A convolution that owns its padding, as in efficientnet_pytorch: no leaf, but one layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, bias=False)
        self.pad = nn.ZeroPad2d(1)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(self.pad(input), self.weight)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Residual(nn.Module):
    """timm's basic block: two activation modules, each used once, and a gate in the branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = (
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)
        self.se, self.act2 = SqueezeExcite(channels), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        activated: Tensor = self.act2(self.se(branch) + x)
        return activated


class Branches(nn.Module):
    """RepVGG's block before it is folded: three branches, summed, then activated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.three, self.one = nn.Conv2d(channels, channels, 3, 1, 1), nn.Conv2d(channels, channels, 1)
        self.itself, self.act = nn.BatchNorm2d(channels), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.three(x) + self.one(x) + self.itself(x))
        return activated


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


class TwoHeads(nn.Module):
    """A distilled transformer: two heads read two tokens, and their logits are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.tokens = nn.Parameter(torch.randn(1, 2, 16))
        self.blocks = nn.Sequential(EncoderBlock(16, 2), EncoderBlock(16, 2))
        self.norm, self.head, self.head_dist = (
            nn.LayerNorm(16),
            nn.Linear(16, CLASSES),
            nn.Linear(16, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = self.norm(self.blocks(torch.cat((self.tokens.expand(x.shape[0], -1, -1), x), 1)))
        averaged: Tensor = (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        return averaged


class PooledTwoHeads(nn.Module):
    """EfficientFormer and LeViT: both heads read one pooled vector that no module returns."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_bn_relu(3, 8), *conv_bn_relu(8, 12))
        self.head = nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, CLASSES))
        self.head_dist = nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.body(x).mean((2, 3)), x.new_zeros(x.shape[0], 0)), 1)
        averaged: Tensor = (self.head(x) + self.head_dist(x)) / 2
        return averaged


class Shared(nn.Module):
    """A tutorial's network: one ReLU, one pooling, and one convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu, self.pool, self.drop = nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1)
        self.fc1, self.fc2 = nn.Linear(8 * 16, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(self.relu(self.conv2(x)))))
        logits: Tensor = self.fc2(self.drop(self.relu(self.fc1(self.drop(x.flatten(1))))))
        return logits


class SharedThenMean(Shared):
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv2(self.relu(self.conv2(self.relu(self.conv1(x))))))
        logits: Tensor = self.fc2(torch.cat((x.mean((2, 3)), x.amax((2, 3))[:, :4]), 1))
        return logits


class Windows(nn.Module):
    """Attention within windows that are folded into the batch, on maps with their channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner = nn.Conv2d(3, 16, 2, 2), EncoderBlock(16, 2)
        self.mix, self.norm, self.head = nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.embed(x).permute(0, 2, 3, 1))
        n, h, w, c = x.shape
        x = x.view(n, h // 4, 4, w // 4, 4, c).transpose(2, 3).reshape(-1, 16, c)
        x = self.inner(x).view(n, h // 4, w // 4, 4, 4, c).transpose(2, 3).reshape(n, h, w, c)
        logits: Tensor = self.head(self.norm(x).mean((1, 2)))
        return logits


class Cosine(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, channels))

    def forward(self, x: Tensor) -> Tensor:
        return 16 * F.linear(F.normalize(x), F.normalize(self.weight))


class Lora(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = (
            nn.Linear(base.in_features, 2, bias=False),
            nn.Linear(2, base.out_features, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.base(x) + self.b(self.a(x))
        return adapted


def small(*before: nn.Module, last: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(*before, *head(8)[:2], last if last is not None else nn.Linear(8, CLASSES))


def stages(block: Callable[[int], nn.Module]) -> nn.Module:
    return small(nn.Sequential(*conv_bn_relu(3, 8)), *(nn.Sequential(block(8), block(8)) for _ in range(3)))


NETS: dict[str, tuple[Callable[[], nn.Module], str, tuple[str, ...], str]] = {
    "conv that owns its padding": (
        lambda: small(Same(3, 8), nn.BatchNorm2d(8), nn.ReLU(), Same(8, 8), nn.BatchNorm2d(8), nn.ReLU()),
        "6",
        ("2",),
        "8",
    ),
    "gated residual blocks": (lambda: stages(Residual), "4", ("0.2", "1.1", "2.0", "3.0"), "6"),
    "branches": (lambda: stages(Branches), "4", ("0.2", "1.1", "2.0", "3.0"), "6"),
    "gate on the trunk": (
        lambda: small(*conv_bn_relu(3, 8), SqueezeExcite(8), *conv_bn_relu(8, 8)),
        "7",
        ("2",),
        "9",
    ),
    "two heads": (TwoHeads, "norm", ("embed", "blocks.0"), "head, head_dist"),
    "two heads on a function": (PooledTwoHeads, "head.0:input", ("body.2",), "head.1, head_dist.1"),
    "everything shared": (Shared, "relu#4", ("relu#1", "relu#2", "relu#3"), "fc2"),
    "shared before functions": (SharedThenMean, "fc2:input", ("relu#1", "relu#2"), "fc2"),
    "windows": (Windows, "norm", ("embed", "mix"), "head"),
    "cosine": (
        lambda: small(*conv_bn_relu(3, 8), *conv_bn_relu(8, 8), last=Cosine(8)),
        "6",
        ("2",),
        "8",
    ),
    "weight norm": (
        lambda: small(
            *conv_bn_relu(3, 8), *conv_bn_relu(8, 8), last=parametrizations.weight_norm(nn.Linear(8, CLASSES))
        ),
        "6",
        ("2",),
        "8",
    ),
    "spectral norm": (
        lambda: small(
            parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)),
            nn.ReLU(),
            parametrizations.spectral_norm(nn.Conv2d(8, 8, 3)),
            nn.ReLU(),
            last=parametrizations.spectral_norm(nn.Linear(8, CLASSES)),
        ),
        "4",
        ("1",),
        "6",
    ),
    "adapters": (
        lambda: small(*conv_bn_relu(3, 8), *conv_bn_relu(8, 8), last=Lora(nn.Linear(8, CLASSES))),
        "6",
        ("2",),
        "8.base, 8.a, 8.b",
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_plan_and_graph(name: str) -> None:
    factory, features, early, classifier = NETS[name]
    model, x = seeded(factory), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    plan = find_taps(model, x)
    assert (plan.features, plan.early, plan.classifier) == (features, early, classifier)
    check_tapped(model, x, plan)
    # The exporter takes these taps: no BatchNorm is cut off from its layer.
    assert [layer for layer, _ in export_backbone(model, x, plan.names).taps] == list(plan.names)


def check_tapped(model: nn.Module, x: Tensor, plan: TapPlan) -> None:
    """Every tap is captured with the shape that the plan states, and a gradient reaches it."""
    with evaluation_mode(model), Capture(model, plan.names) as captured:
        logits = model(x.clone().requires_grad_())
    for tap in plan.layers:
        activation = captured.activations[tap.name]
        assert tuple(activation.shape) == (len(x), *tap.shape)
        (gradient,) = torch.autograd.grad(logits.sum(), activation, retain_graph=True)
        assert gradient.any()


def test_channels_are_where_the_layers_say() -> None:
    plan = find_taps(seeded(Windows), torch.rand(2, 3, 16, 16))
    assert [tap.kind for tap in plan.layers] == [TapKind.MAP2D, TapKind.MAP2D_LAST, TapKind.MAP2D_LAST]
    assert [tap.channels for tap in plan.layers] == [16, 16, 16]
    assert plan.tap("norm").cells(2) == 2


def test_early_token_mixing_does_not_turn_the_axes() -> None:
    """In a mixer one linear layer runs over tokens; what it adds to still has its channels last."""

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.tokens = nn.Conv2d(3, 12, 4, 4), nn.Linear(16, 16)
            self.out, self.head = nn.Identity(), nn.Linear(12, CLASSES)
            self.channels = nn.Linear(12, 12)

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x).flatten(2).transpose(1, 2)
            x = self.out(self.tokens(x.transpose(1, 2)).transpose(1, 2) + x)
            logits: Tensor = self.head((self.channels(x) + x).mean(1))
            return logits

    plan = find_taps(seeded(Mixer), torch.rand(2, 3, 16, 16), taps=["channels:input"])
    assert plan.layers[0].kind is TapKind.TOKENS and plan.layers[0].channels == 12


class Ensemble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (small(*conv_bn_relu(3, 8)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        averaged: Tensor = (self.first(x) + self.second(x)) / 2
        return averaged


def test_ensemble_has_no_features_but_those_that_are_named() -> None:
    model, x = seeded(Ensemble), torch.rand(2, 3, 16, 16)
    with pytest.raises(ExportError, match=r"meet in no layer before the logits, as in an ensemble"):
        find_taps(model, x)
    plan = find_taps(model, x, classifier="first.5", taps=["first.2"])
    assert (plan.features, plan.classifier) == ("first.5:input", "first.5")
    assert find_taps(model, x, features="second.2", taps=["first.2"]).features == "second.2"


class Lost(nn.Module):
    """A network through which no gradient comes, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.body, self.fc = how, nn.Sequential(*conv_bn_relu(3, 8)), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "compared":
            x = (x > 0.5).float()
        if self.how == "sign":
            x = torch.sign(x - 0.5)
        with torch.inference_mode(self.how == "inference"), torch.set_grad_enabled(self.how != "no_grad"):
            x = self.body(x)
        x = x.detach() if self.how == "detached" else x.clone()
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no_grad", r"no gradient of the logits reaches the input: it ends at layer 'body.0' \(Conv2d\)"),
        ("inference", r"no gradient of the logits reaches the input: it ends at layer 'body.0' \(Conv2d\)"),
        ("detached", r"no gradient of the logits reaches the input: it ends after layer 'body' "),
        (
            "compared",
            r"no gradient of the logits reaches the input: it ends before the first layer, 'body.0'",
        ),
        ("sign", r"the gradient of the logits at the input is zero"),
    ],
)
def test_lost_gradient_is_refused(how: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        find_taps(seeded(lambda: Lost(how)), torch.rand(2, 3, 16, 16))


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


def test_layers_that_mix_rows_are_refused() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        Centred(),
        nn.ReLU(),
        *conv_bn_relu(8, 8),
        *head(8),
    )
    with pytest.raises(ExportError, match=r"change with the other images .* layer '2' gives"):
        find_taps(seeded(lambda: model), torch.rand(2, 3, 16, 16))


def test_second_input_and_integers_are_refused() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x * mask

    with pytest.raises(ExportError, match=r"takes 2 inputs \(x, mask\), expected one"):
        find_taps(Pair(), torch.rand(2, 4))
    words = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ExportError, match="integer inputs are not supported"):
        find_taps(words, torch.rand(2, 3))
