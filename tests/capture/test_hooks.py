from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nip_export.network.hooks import Capture, evaluation_mode
from nip_runtime.errors import ExportError
from tests.models import SmallViT, case, seeded


def hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_activation_is_what_the_layer_returned_and_gradients_reach_it() -> None:
    model, x = case("vgg").build(), case("vgg").batch(2)
    with Capture(model, ["features.2"], retain_grad=True) as captured:
        logits = model(x)
    activation = captured.activations["features.2"]
    assert torch.equal(logits, model(x))
    assert torch.equal(activation, model.get_submodule("features")[:3](x))  # type: ignore[index]
    logits[:, 3].sum().backward()
    with Capture(model, ["features.2"]) as again:
        logits = model(x)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), again.activations["features.2"])
    assert gradient.abs().max() > 0
    assert activation.grad is not None and torch.equal(activation.grad, gradient)


def test_gradient_by_hand() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
        second.weight.copy_(torch.tensor([[5.0, 7.0]]))
    model = nn.Sequential(first, nn.ReLU(), second)
    with Capture(model, ["1"]) as captured:
        output = model(torch.tensor([[1.0, 2.0]]))
    activation = captured.activations["1"]
    assert activation.tolist() == [[5.0, 0.0]]
    assert torch.autograd.grad(output.sum(), activation)[0].tolist() == [[5.0, 7.0]]


@pytest.mark.parametrize("layer", ["features.1", "features.4"])
def test_inplace_relu_after_the_tap_does_not_change_it(layer: str) -> None:
    model, x = case("vgg").build(), case("vgg").batch(2)
    with torch.no_grad(), Capture(model, [layer]) as captured:
        logits = model(x)
    assert captured.activations[layer].min() < 0, "a BatchNorm's output has negative values; ReLU has none"
    assert torch.equal(logits, model(x))


def test_each_forward_pass_replaces_the_activations() -> None:
    model = case("mlp").build()
    with Capture(model, ["net.1"]) as captured:
        model(case("mlp").batch(2))
        model(case("mlp").batch(5))
    assert captured.activations["net.1"].shape == (5, 64)


def test_nested_taps_on_one_tensor_both_have_gradients() -> None:
    model, x = case("vgg").build(), case("vgg").batch(2)
    with Capture(model, ["features.20", "features"]) as captured:
        logits = model(x)
    inner, outer = captured.activations["features.20"], captured.activations["features"]
    assert torch.equal(inner, outer)
    for gradient in torch.autograd.grad(logits.sum(), [inner, outer]):
        assert gradient.abs().max() > 0


def test_hooks_and_attention_setting_are_gone_afterwards() -> None:
    model = case("vgg").build()
    assert torch.backends.mha.get_fastpath_enabled()
    with Capture(model, ["features.2"]):
        assert hook_count(model) == 3
    assert hook_count(model) == 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_hooks_are_gone_after_an_error_in_the_block() -> None:
    model = case("vgg").build()
    with pytest.raises(ZeroDivisionError), Capture(model, ["features.2"]):
        _ = 1 / 0
    assert hook_count(model) == 0


def test_hooks_are_gone_after_an_error_in_the_model() -> None:
    model = case("vgg").build()
    with pytest.raises(RuntimeError), Capture(model, ["features.2"]):
        model(torch.zeros(1, 7, 28, 28))
    assert hook_count(model) == 0
    with Capture(model, ["features.2"]) as captured:
        model(case("vgg").batch(1))
    assert "features.2" in captured.activations


def test_unknown_name_lists_close_matches_and_leaves_no_hook() -> None:
    model = case("vgg").build()
    with (
        pytest.raises(ExportError, match=r"'feature\.2'.*features\.2"),
        Capture(model, ["features.2", "feature.2"]),
    ):
        pass
    assert hook_count(model) == 0


def test_repeated_and_empty_names_are_refused() -> None:
    model = case("mlp").build()
    with pytest.raises(ExportError, match="tapped twice"), Capture(model, ["net.1", "net.1"]):
        pass
    with pytest.raises(ExportError, match="got none"), Capture(model, []):
        pass


def test_layer_that_runs_twice_is_refused() -> None:
    model = case("resnet").build()
    with pytest.raises(ExportError, match="runs more than once"), Capture(model, ["stages.0.0.relu"]):
        model(case("resnet").batch(1))
    assert hook_count(model) == 0


def test_layer_that_returns_a_tuple_is_refused() -> None:
    model = case("vit_builtin").build()
    with (
        pytest.raises(ExportError, match=r"MultiheadAttention.*returns a tuple"),
        Capture(model, ["blocks.0.self_attn"]),
    ):
        model(case("vit_builtin").batch(1))


def test_layer_that_does_not_run_is_refused() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    model = Unused()
    with pytest.raises(ExportError, match=r"did not run.*spare"), Capture(model, ["spare"]):
        model(torch.zeros(1, 2))


def test_entering_twice_is_refused() -> None:
    model = case("mlp").build()
    with Capture(model, ["net.1"]) as captured, pytest.raises(ExportError, match="already active"):
        captured.__enter__()
    assert hook_count(model) == 0


def test_transformer_fast_path_does_not_hide_layers() -> None:
    model = seeded(lambda: SmallViT(builtin=True))
    with torch.no_grad(), Capture(model, ["blocks.1.linear1"]) as captured:
        model(case("vit_builtin").batch(2))
    assert captured.activations["blocks.1.linear1"].shape == (2, 17, 64)


def test_evaluation_mode_restores_every_flag() -> None:
    model = case("vgg").build().train()
    model.get_submodule("features.1").eval()
    with pytest.raises(ZeroDivisionError), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        _ = 1 / 0
    assert [name for name, module in model.named_modules() if not module.training] == ["features.1"]


class Counting:
    """A backend of torch.compile that counts what it is asked to compile."""

    def __init__(self) -> None:
        self.compiled = 0

    def __call__(self, graph: nn.Module, inputs: object) -> nn.Module:
        self.compiled += 1
        return graph


def compiled_whole(backend: Counting) -> nn.Module:
    model: Any = torch.compile(nn.Linear(3, 2), backend=backend)
    assert isinstance(model, nn.Module)
    return model


class Own(nn.Module):
    """torch leaves its own layers alone where they are compiled in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


def compiled_in_place(backend: Counting) -> nn.Module:
    model = Own()
    model.compile(backend=backend)
    return model


@torch.no_grad()
@pytest.mark.parametrize(
    "make",
    [compiled_whole, compiled_in_place, lambda backend: nn.Sequential(compiled_whole(backend), nn.ReLU())],
    ids=["whole", "in place", "a part"],
)
def test_nothing_compiles_in_evaluation_mode(make: Callable[[Counting], nn.Module]) -> None:
    """Compiled code would hide layers from hooks, be compiled anew for each, and refuse a second gradient."""
    torch.compiler.reset()
    backend = Counting()
    model = make(backend).eval()
    with evaluation_mode(model):
        seen = model(torch.ones(1, 3))
        assert backend.compiled == 0
    assert torch.equal(model(torch.ones(1, 3)), seen)
    assert backend.compiled == 1, "outside it is what it was"


@pytest.mark.filterwarnings("ignore:torch:DeprecationWarning", "ignore:.*quant:UserWarning")
def test_observers_of_quantisation_aware_training_rest_in_eval_mode() -> None:
    from torch.ao.quantization import get_default_qat_qconfig, prepare_qat

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model.qconfig = get_default_qat_qconfig("x86")  # type: ignore[no-untyped-call]
    prepared: nn.Module = prepare_qat(model)  # type: ignore[no-untyped-call]
    prepared(torch.randn(16, 4))
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    with evaluation_mode(prepared):
        first = prepared(torch.randn(16, 4))
        shown = 9 * torch.randn(16, 4)
        assert torch.equal(prepared(shown), prepared(shown))
    assert first.shape == (16, 3)
    after = prepared.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert prepared.training
    prepared(shown)  # the user's training goes on as it would have
    assert not all(torch.equal(value, prepared.state_dict()[name]) for name, value in before.items())
