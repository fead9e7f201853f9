from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export.network.hooks import Capture
from nip_export.network.plan import Tap, TapPlan
from nip_export.network.pooling import TapKind, pool_activation
from nip_export.network.taps import find_taps
from nip_runtime.errors import ExportError
from tests.models import CASES, ModelCase, case, conv_bn_relu, seeded

EXPECTED = {
    "vgg": ("classifier.2", ("features.2", "features.9", "features.12", "features.19"), "classifier.4"),
    "resnet": ("avgpool", ("relu", "stages.0", "stages.1"), "fc"),
    "preact": ("fc:input", ("stem",), "fc"),
    "mobilenet": ("features.4.2", ("features.0", "features.1", "features.2", "features.3"), "classifier.1"),
    "vit": ("norm", ("patch_embed", "blocks.0", "blocks.1", "blocks.2"), "head"),
    "vit_builtin": ("norm", ("patch_embed", "blocks.0", "blocks.1", "blocks.2"), "head"),
    "audio": ("body.11", ("body.2", "body.5", "body.8"), "fc"),
    "mlp": ("net.3", ("net.1",), "net.4"),
}
KINDS = {"audio": TapKind.MAP1D, "mlp": TapKind.VECTOR}


@pytest.mark.parametrize("net", CASES, ids=lambda net: net.name)
def test_automatic_taps(net: ModelCase) -> None:
    model, x = net.build(), net.batch(3)
    plan = find_taps(model, x)
    assert (plan.features, plan.early, plan.classifier) == EXPECTED[net.name]
    assert plan.tap(plan.early[0]).kind is KINDS.get(net.name, TapKind.MAP2D)
    with torch.no_grad(), Capture(model, plan.names) as captured:
        model(x)
    for tap in plan.layers:
        activation = captured.activations[tap.name]
        assert tuple(activation.shape[1:]) == tap.shape
        for wanted in (1, 2):
            cells = tap.cells(wanted)
            pooled = pool_activation(activation, kind=tap.kind, cells=cells)
            assert pooled.shape == (3, tap.width(cells=cells))


def test_plan_is_found_in_any_mode_and_leaves_the_model_alone() -> None:
    model = case("vgg").build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert find_taps(model, case("vgg").batch(1)) == find_taps(model.eval(), case("vgg").batch(2))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    model.train()
    find_taps(model, case("vgg").batch(1))
    assert all(module.training for module in model.modules())


def test_named_taps_in_execution_order_with_automatic_features() -> None:
    model, x = case("vgg").build(), case("vgg").batch(1)
    plan = find_taps(model, x, taps=["features.12", "features.2"])
    assert (plan.early, plan.features) == (("features.2", "features.12"), "classifier.2")


def test_named_features_are_kept() -> None:
    model, x = case("resnet").build(), case("resnet").batch(1)
    plan = find_taps(model, x, taps=["avgpool", "relu"])
    assert (plan.early, plan.features) == (("relu",), "avgpool")


def test_plan_pickles() -> None:
    plan = find_taps(case("mlp").build(), case("mlp").batch(1))
    assert pickle.loads(pickle.dumps(plan)) == plan


@pytest.mark.parametrize(
    ("net", "tap", "message"),
    [
        ("vgg", "features.0", "followed by a BatchNorm"),
        ("resnet", "stages.0.0.relu", r"runs 2 times(?s:.*)avgpool \(AdaptiveAvgPool2d, \(N, 48, 1, 1\)\)"),
        ("vit_builtin", "blocks.0.self_attn", "does not return one tensor"),
        ("mlp", "net.9", "no layer named 'net.9'"),
    ],
)
def test_unusable_named_taps_are_refused(net: str, tap: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        find_taps(case(net).build(), case(net).batch(1), taps=[tap])


def test_unknown_word_is_refused() -> None:
    with pytest.raises(ExportError, match="expected taps='auto'"):
        find_taps(case("mlp").build(), case("mlp").batch(1), taps="all")


class ConvHead(nn.Module):
    """SqueezeNet's form: a 1x1 convolution is the classifier, pooled by a function afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_bn_relu(3, 8), *conv_bn_relu(8, 12, stride=2))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(12, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.body(x))).mean((2, 3))  # type: ignore[no-any-return]


def test_convolution_as_classifier() -> None:
    plan = find_taps(seeded(ConvHead), torch.rand(2, 3, 8, 8))
    assert (plan.classifier, plan.features, plan.early) == ("head", "body.5", ("body.2",))


class Wrapped(nn.Module):
    """The whole network inside a module that ends in a function: not to be taken for one block."""

    def __init__(self) -> None:
        super().__init__()
        self.net = case("resnet").build()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * 2.0  # type: ignore[no-any-return]


def test_wrapped_network() -> None:
    plan = find_taps(seeded(Wrapped), case("resnet").batch(1))
    assert plan.features == "net.avgpool"
    assert plan.early == ("net.relu", "net.stages.0", "net.stages.1")


class FunctionalRelu(nn.Module):
    """A convolution unit as torchvision's GoogLeNet writes it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def test_functional_activations_are_reached_through_their_units() -> None:
    net = nn.Sequential(
        FunctionalRelu(3, 8),
        FunctionalRelu(8, 8),
        FunctionalRelu(8, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    plan = find_taps(seeded(lambda: nn.Sequential(net, nn.Linear(8, 10))), torch.rand(1, 3, 16, 16))
    assert (plan.features, plan.early) == ("0.3", ("0.0", "0.1"))


def test_maxout_head_is_a_head_like_any_other() -> None:
    body = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU()]
    head = [nn.Linear(8, 6), nn.Unflatten(1, (3, 2)), nn.AdaptiveMaxPool1d(1), nn.Flatten()]
    plan = find_taps(seeded(lambda: nn.Sequential(*body, *head)), torch.rand(1, 4))
    assert (plan.features, plan.early, plan.classifier) == ("3", ("1",), "4")


def test_model_without_hidden_layer_is_refused() -> None:
    with pytest.raises(ExportError, match=r"no hidden layer \(1 reads the input itself\)"):
        find_taps(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(1, 2, 2))


def test_model_without_earlier_layer_has_no_early_taps() -> None:
    shallow = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    plan = find_taps(shallow, torch.rand(1, 4))
    assert (plan.features, plan.early, plan.classifier) == ("1", (), "2")
    assert find_taps(shallow, torch.rand(1, 4), taps=["1"]).early == ()


def test_model_that_returns_no_logits_is_refused() -> None:
    with pytest.raises(ExportError, match=r"return logits \(N, C\), got \(2, 4, 4, 4\)"):
        find_taps(nn.Conv2d(3, 4, 3, padding=1), torch.rand(1, 3, 4, 4))


def test_example_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ExportError, match=r"fails on an example of shape \(2, 3, 28, 28\).*1 channels"):
        find_taps(case("vgg").build(), torch.rand(1, 3, 28, 28))


def test_plans_and_taps_validate() -> None:
    tap = Tap("a", TapKind.VECTOR, (3,))
    with pytest.raises(ExportError, match="expected one layer per tap"):
        TapPlan(features="a", early=("b",), layers=(tap,), classifier="c")
    with pytest.raises(ExportError, match="kind 'map2d'"):
        Tap("a", TapKind.MAP2D, (3,))
    with pytest.raises(ExportError, match="'b' is not tapped"):
        TapPlan(features="a", early=(), layers=(tap,), classifier="c").tap("b")


class OfTheBatch(nn.Module):
    """Normalises by the mean of the whole batch."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x - x.mean())
        return y


def test_a_network_whose_logits_mix_rows_is_no_matter_of_taps() -> None:
    """Another tap would not help: it is the network that is named, not a layer."""
    with pytest.raises(
        ExportError, match="logits of an image change with the other images of its batch"
    ) as told:
        find_taps(OfTheBatch(case("vgg").build()), case("vgg").batch(2))
    assert "tap one" not in str(told.value)
