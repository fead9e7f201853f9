from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation
from numpy.typing import NDArray
from torch import nn

from nip_export.fit.profiles import InfluenceProfile, influences
from nip_export.network import TapKind, pool_activation
from nip_export.network.run import TapCells
from nip_export.network.tapped import TappedNetwork
from nip_runtime.errors import ExportError
from tests.maths.toys import CPU, MapToy, VectorToy, profile_on_cpu, tap_automatically, tap_by_hand
from tests.models import CASES, ModelCase, SmallVgg, case, seeded


def profile_vector(x: list[list[float]], labels: list[int], *, batch_size: int = 8) -> InfluenceProfile:
    network, grid = tap_by_hand(VectorToy(), "hidden", TapKind.VECTOR, (3,))
    inputs = np.array(x, np.float32)
    return profile_on_cpu(
        network, inputs, np.array(labels), [grid], classes=3, top_k=1, batch_size=batch_size
    )["hidden"]


def test_influence_on_a_vector_by_hand() -> None:
    # hidden = (x₀, x₁, x₀ − x₁); z₀ = 2·relu(h₀) − relu(h₁) + 5·relu(h₂).
    # x = (1, 2), class 0: h = (1, 2, −1), ∂z₀/∂h = (2, −1, 0) since the ReLU blocks h₂:    (2, −2, 0)
    # x = (4, 1), class 0: h = (4, 1, 3),  ∂z₀/∂h = (2, −1, 5):                            (8, −1, 15)
    #                                                                              mean: (5, −1.5, 7.5)
    # x = (2, 3), class 1: h = (2, 3, −1), ∂z₁/∂h = (1, 3, 0):                              (2, 9, 0)
    # Class 2 has no image.
    profile = profile_vector([[1, 2], [2, 3], [4, 1]], [0, 1, 0])
    assert profile.influence.tolist() == [[5, -1.5, 7.5], [2, 9, 0], [0, 0, 0]]
    assert profile.counts.tolist() == [2, 1, 0]
    assert profile.front.tolist() == [[2], [1], [0]], "a class without images ties, and ties go by index"
    assert profile.tail.tolist() == [[1], [2], [0]]


def test_influence_on_the_cells_of_a_map_by_hand() -> None:
    # x = (1, 2, 3, 4) in the upper two rows, ten times that in the lower two; a₀ = x, a₁ = 2x.
    # ∂z₀/∂a₀ = column: products (0, 2, 6, 12) in upper rows, so cells (0 + 2)/2 = 1 and (6 + 12)/2 = 9,
    #                   and ten times that below. (Means of a and of g first: 1.5 · 0.5 = 0.75, not 1.)
    # ∂z₀/∂a₁ = −1:     products −2x, cells −(2 + 4)/2 = −3 and −(6 + 8)/2 = −7, ten times that below.
    upper = torch.arange(1.0, 5).expand(2, 4)
    x = torch.cat([upper, 10 * upper]).reshape(1, 1, 4, 4).numpy()
    network, grid = tap_by_hand(MapToy(), "conv", TapKind.MAP2D, (2, 4, 4), cells=2)
    inputs, labels = np.concatenate([x, x]), np.array([0, 1])
    profile = profile_on_cpu(network, inputs, labels, [grid], classes=2, top_k=3, batch_size=2)["conv"]
    assert profile.influence.tolist() == [[1, 9, 10, 90, -3, -7, -30, -70], [0] * 8]
    assert profile.front.tolist() == [[3, 2, 1], [0, 1, 2]]
    assert profile.tail.tolist() == [[7, 6, 5], [0, 1, 2]]


def test_one_cell_is_the_channel() -> None:
    network, grid = tap_by_hand(MapToy(), "conv", TapKind.MAP2D, (2, 4, 4))
    x = np.ones((1, 1, 4, 4), np.float32)
    profile = profile_on_cpu(network, x, np.array([0]), [grid], classes=2, top_k=1, batch_size=1)["conv"]
    assert profile.influence[0].tolist() == [1.5, -2], "mean column 1.5 · 1 and −1 · 2"


def test_ties_go_to_the_lower_index_at_both_ends() -> None:
    influence = np.array([[3, 1, 3, 1, 2, 3]], np.float32)
    profile = InfluenceProfile("layer", influence, np.array([1]), 2)
    assert (profile.front.tolist(), profile.tail.tolist()) == ([[0, 2]], [[1, 3]])


def test_front_and_tail_may_not_overlap() -> None:
    influence, counts = np.zeros((1, 5), np.float32), np.array([1])
    InfluenceProfile("layer", influence, counts, 2)
    with pytest.raises(ExportError, match=r"top_k: expected at most 2.*5 neurons.*'layer'.*got 3"):
        InfluenceProfile("layer", influence, counts, 3)


def test_the_batch_size_does_not_matter() -> None:
    x = np.random.default_rng(0).normal(size=(11, 2)).tolist()
    labels = [0, 1, 2, 0, 0, 1, 2, 2, 1, 0, 2]
    whole, split = (profile_vector(x, labels, batch_size=size) for size in (11, 3))
    np.testing.assert_allclose(whole.influence, split.influence, rtol=1e-6)


def pooled(values: torch.Tensor, grid: TapCells) -> NDArray[np.float32]:
    result: NDArray[np.float32] = (
        pool_activation(values.detach(), kind=grid.tap.kind, cells=grid.cells).float().numpy()
    )
    return result


@pytest.mark.parametrize("net", CASES, ids=lambda net: net.name)
def test_influence_agrees_with_captum(net: ModelCase) -> None:
    model, x = net.build(), net.batch(6)
    labels = torch.tensor([0, 3, 9, 3, 1, 0])
    network, grids = tap_automatically(model, x)
    found = influences(network, x.clone(), labels, grids)
    modules = dict(model.named_modules())
    for grid in grids:
        at_input = grid.tap.name.endswith(":input")
        attribution = LayerGradientXActivation(model, modules[grid.tap.name.removesuffix(":input")])
        attributed = attribution.attribute(
            x.clone().requires_grad_(True), target=labels, attribute_to_layer_input=at_input
        )
        expected = pooled(attributed, grid)
        got = found[grid.tap.name].numpy()
        assert got.shape == (6, grid.tap.width(cells=grid.cells))
        scale = float(np.abs(expected).max())
        assert scale > 0, "a comparison of zeros shows nothing"
        np.testing.assert_allclose(got, expected, atol=1e-5 * scale, err_msg=grid.tap.name)


def test_influence_agrees_with_autograd_written_out_behind_a_normalisation() -> None:
    net = case("vgg")
    model, x = net.build(), net.batch(4)
    labels = torch.tensor([7, 1, 1, 4])
    network, grids = tap_automatically(model, x, cells=3, mean=[0.3], std=[0.5])
    found = influences(network, x.clone(), labels, grids)
    assert isinstance(model, SmallVgg)
    layers = {
        **{f"features.{i}": layer for i, layer in enumerate(model.features)},
        "pool": model.pool,
        **{f"classifier.{i}": layer for i, layer in enumerate(model.classifier)},
    }
    activations: dict[str, torch.Tensor] = {}
    logits = (x.clone().requires_grad_(True) - 0.3) / 0.5
    for name, layer in layers.items():
        # The next layer gets a copy, so that an in-place ReLU cannot change what this one returned.
        activations[name] = layer(logits)
        logits = activations[name].clone()
    for row, label in enumerate(labels):
        for grid in grids:
            activation = activations[grid.tap.name]
            (gradient,) = torch.autograd.grad(logits[row, label], activation, retain_graph=True)
            expected = pooled((activation * gradient)[row : row + 1], grid)[0]
            np.testing.assert_allclose(found[grid.tap.name][row].numpy(), expected, rtol=1e-4, atol=1e-6)


def frozen_in_part() -> nn.Module:
    """A network in training mode with one frozen, evaluating BatchNorm and a gradient already there."""
    model = seeded(case("vgg").factory)
    model.train()
    first, *_ = (m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    first.eval()
    for parameter in first.parameters():
        parameter.requires_grad_(False)
    kept = next(model.parameters())
    kept.grad = torch.full_like(kept, 7.0)
    return model


def state_of(model: nn.Module) -> list[object]:
    modules = list(model.modules())
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in modules]
    gradients = [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in model.parameters()]
    values = [value.tolist() for value in model.state_dict().values()]
    return [hooks, [m.training for m in modules], gradients, values]


def test_the_users_network_and_images_stay_as_they_were() -> None:
    model = frozen_in_part()
    x = case("vgg").batch(6)
    network, grids = tap_automatically(model, x)
    inputs, before = x.numpy(), state_of(model)
    copy = inputs.copy()
    with torch.no_grad():
        profile_on_cpu(
            network, inputs, np.array([0, 1, 2, 0, 1, 2]), grids, classes=10, top_k=2, batch_size=4
        )
        assert not torch.is_grad_enabled()
    assert state_of(model) == before
    assert np.array_equal(inputs, copy)


def test_nothing_stays_behind_when_the_pass_fails() -> None:
    class Failing(VectorToy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Run the hidden layer, then fail."""
            self.hidden(x)
            raise RuntimeError("broken")

    model = Failing()
    before = state_of(model)
    network = TappedNetwork(model, ["hidden"], mean=None, std=None)
    _, grid = tap_by_hand(model, "hidden", TapKind.VECTOR, (3,))
    with pytest.raises(RuntimeError, match="broken"):
        profile_on_cpu(
            network, np.ones((2, 2), np.float32), np.array([0, 1]), [grid], classes=3, top_k=1, batch_size=2
        )
    assert state_of(model) == before


def test_progress_counts_every_image_once() -> None:
    network, grid = tap_by_hand(VectorToy(), "hidden", TapKind.VECTOR, (3,))
    done: list[int] = []
    inputs, labels = np.ones((7, 2), np.float32), np.zeros(7, np.int64)
    network.to(CPU)
    profile_on_cpu(network, inputs, labels, [grid], classes=3, top_k=1, batch_size=3, advance=done.append)
    assert done == [3, 3, 1]
