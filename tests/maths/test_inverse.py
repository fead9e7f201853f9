from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_export.demo.example import Example
from nip_export.fit.benign import at_the_door
from nip_export.fit.perturbations import InverseObjective, ascend, one_step
from nip_export.fit.perturbations.bank import coarse_shape
from nip_export.fit.perturbations.inverse import start
from nip_export.fit.profiles import InfluenceProfile
from nip_export.network import TapKind, evaluation_mode, find_taps
from nip_export.network.plan import Tap
from nip_export.network.run import TapCells, run_network, tapped_network
from nip_export.network.tapped import TappedNetwork
from tests.maths.toys import CPU, linear, profile_on_cpu

EPS = 8 / 255
Floats = NDArray[np.float32]


class LinearToy(nn.Module):
    """(N, T) → hidden (N, 4), whose rows are given → logits (N, 2)."""

    def __init__(self, *rows: Sequence[float]) -> None:
        super().__init__()
        self.hidden = linear(*rows)
        self.head = linear([1, 0, 0, 0], [0, 1, 0, 0])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 2)."""
        logits: Tensor = self.head(self.hidden(x.flatten(1)))
        return logits


def toy_objective(
    model: nn.Module,
    inputs: Floats,
    labels: list[int],
    *,
    influence: Sequence[Sequence[float]] = ((9, 0, 1, 2), (1, 9, 0, 2)),
    bounds: tuple[float, float] = (0.0, 1.0),
) -> InverseObjective:
    """Front and tail by hand: neurons 0 and 1 for class 0, neurons 1 and 2 for class 1."""
    return InverseObjective(
        network=TappedNetwork(model, ["hidden"], mean=None, std=None),
        tap=Tap("hidden", TapKind.VECTOR, (4,)),
        profile=InfluenceProfile(
            "hidden", np.array(influence, np.float32), np.bincount(labels, minlength=2), 1
        ),
        inputs=inputs,
        labels=np.array(labels),
        bounds=bounds,
        device=CPU,
    )


# Gradients: class 0 row 0 − row 1 = (3, 4), class 1 row 1 − row 2 = (−1, −7).
TOY = LinearToy([3, 5], [0, 1], [1, 8], [100, -100])
INSIDE = np.full((3, 2), 0.5, np.float32)


def test_the_objective_by_hand() -> None:
    objective = toy_objective(TOY, INSIDE, [0, 0, 1])
    # x = (1, 2): a = (13, 2, 17, −100). Class 0: 13 − 2 = 11. Class 1: 2 − 17 = −15.
    x = torch.tensor([[1.0, 2], [1, 2], [1, 2]])
    assert objective.value(x, torch.tensor([0, 0, 1])).item() == pytest.approx((11 + 11 - 15) / 3)


def test_the_objective_takes_means_over_k_neurons_and_over_positions() -> None:
    conv = nn.Conv2d(1, 4, 1, bias=False)
    model = nn.Sequential(conv)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 2, 4, 8]).reshape(4, 1, 1, 1))
    objective = InverseObjective(
        network=TappedNetwork(model, ["0"], mean=None, std=None),
        tap=Tap("0", TapKind.MAP2D, (4, 2, 2)),
        profile=InfluenceProfile("0", np.array([[4, 1, 2, 3]], np.float32), np.array([1]), 2),
        inputs=np.zeros((1, 1, 2, 2), np.float32),
        labels=np.array([0]),
        bounds=(0, 1),
        device=CPU,
    )
    # Mean input 2.5; front are channels 0 and 3, tail 1 and 2: 2.5 · ((1 + 8)/2 − (2 + 4)/2) = 3.75.
    x = torch.tensor([1.0, 2, 3, 4]).reshape(1, 1, 2, 2)
    assert objective.value(x, torch.tensor([0])).item() == pytest.approx(3.75)


def test_one_step_per_class_is_the_closed_form() -> None:
    # (3, 4): root mean square √12.5, so 0.008 · (3, 4)/√12.5 = (0.006788, 0.009051).
    # (−1, −7): root mean square 5, so 0.008 · (−0.2, −1.4) = (−0.0016, −0.0112).
    objective = toy_objective(TOY, INSIDE, [0, 0, 1])
    wide = one_step(objective, per_class=True, eps=0.5, batch_size=2, scale=0.008)
    expected = [[0.008 * 3 / 12.5**0.5, 0.008 * 4 / 12.5**0.5], [-0.0016, -0.0112]]
    np.testing.assert_allclose(wide.numpy(), expected, rtol=1e-5)
    cut = one_step(objective, per_class=True, eps=0.008, batch_size=2, scale=0.008)
    np.testing.assert_allclose(cut.numpy(), [[expected[0][0], 0.008], [-0.0016, -0.008]], rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_one_universal_step_weighs_every_input_alike(batch_size: int) -> None:
    # Sum over inputs: 2 · (3, 4) + (−1, −7) = (5, 1), root mean square √13.
    objective = toy_objective(TOY, INSIDE, [0, 0, 1])
    found = one_step(objective, per_class=False, eps=0.5, batch_size=batch_size, scale=0.004)
    np.testing.assert_allclose(found.numpy(), [[0.004 * 5 / 13**0.5, 0.004 / 13**0.5]], rtol=1e-5)


def test_one_step_is_a_share_of_the_value_range() -> None:
    usual, wide = (
        one_step(toy_objective(TOY, INSIDE, [0, 0, 1], bounds=bounds), per_class=True, eps=100, batch_size=3)
        for bounds in ((0.0, 1.0), (0.0, 255.0))
    )
    np.testing.assert_allclose(wide.numpy(), 255 * usual.numpy(), rtol=1e-5)


def test_pixels_that_are_clipped_do_not_pull() -> None:
    objective = toy_objective(TOY, np.array([[0.9, 0.5]], np.float32), [0])
    there = torch.tensor([[0.2, 0.2]])
    gradient = objective.gradient(there, np.array([0]), per_class=False)
    assert gradient.tolist() == [[0, 4]]
    assert there.requires_grad is False


def test_a_stored_value_gathers_the_gradient_of_its_block() -> None:
    shape = (1, 66, 65)  # factor 2, ragged in the last column
    random = np.random.default_rng(0)
    rows = random.normal(size=(4, 66 * 65))
    objective = toy_objective(LinearToy(*rows.tolist()), np.full((1, *shape), 0.5, np.float32), [0])
    found = objective.gradient(start(objective, per_class=False), np.array([0]), per_class=False)
    difference = (rows[0] - rows[1]).reshape(66, 65)
    expected = [
        [difference[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() for j in range(33)] for i in range(33)
    ]
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_chosen_factor_pools_the_gradient_over_larger_blocks() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(4, 6 * 7))
    fine = toy_objective(LinearToy(*rows.tolist()), np.full((1, 1, 6, 7), 0.5, np.float32), [0])
    objective = replace(fine, factor=3)
    found = objective.gradient(start(objective, per_class=False), np.array([0]), per_class=False)
    difference = np.pad((rows[0] - rows[1]).reshape(6, 7), ((0, 0), (0, 2)))
    expected = difference.reshape(2, 3, 3, 3).sum((1, 3))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-4, atol=1e-4)
    assert ascend(objective, per_class=True, eps=0.1, steps=2, batch_size=1, seed=0).shape == (2, 1, 2, 3)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (1, 2, 1), (3, 70, 80)], ids=str)
@pytest.mark.parametrize(("per_class", "count"), [(False, 1), (True, 2)])
def test_one_row_for_all_or_one_per_class(shape: tuple[int, ...], per_class: bool, count: int) -> None:
    rows = np.random.default_rng(0).normal(size=(4, int(np.prod(shape)))).tolist()
    objective = toy_objective(LinearToy(*rows), np.full((2, *shape), 0.5, np.float32), [0, 1])
    wanted = (count, *coarse_shape(shape))
    assert ascend(objective, per_class=per_class, eps=0.1, steps=2, batch_size=2, seed=0).shape == wanted
    assert one_step(objective, per_class=per_class, eps=0.1, batch_size=2).shape == wanted


def test_on_a_linear_net_the_ascent_ends_in_the_corner_of_the_epsilon_box() -> None:
    objective = toy_objective(TOY, INSIDE, [0, 0, 1])
    found = ascend(objective, per_class=True, eps=0.1, steps=40, batch_size=3, seed=0)
    np.testing.assert_allclose(found.numpy(), [[0.1, 0.1], [-0.1, -0.1]], rtol=1e-6)


def test_a_class_without_images_gets_no_perturbation() -> None:
    objective = toy_objective(TOY, INSIDE, [0, 0, 0])
    for found in (
        ascend(objective, per_class=True, eps=0.1, steps=5, batch_size=3, seed=0),
        one_step(objective, per_class=True, eps=0.1, batch_size=3),
    ):
        assert found[1].tolist() == [0, 0]
        assert found[0].abs().min() > 0


def split_objectives(example: Example) -> tuple[InverseObjective, InverseObjective]:
    """The objective on images that perturbations are made from, and on others, of the trained network."""
    benign = at_the_door(example.profile)
    rows = np.arange(700)
    probe = torch.from_numpy(benign.inputs[:2].copy())
    mean, std = torch.tensor(example.mean), torch.tensor(example.std)
    with evaluation_mode(example.model):
        plan = find_taps(example.model, (probe - mean) / std)
    features = plan.tap(plan.features)
    network = tapped_network(example.model, probe, [features.name], mean=example.mean, std=example.std)
    inputs, labels = benign.inputs[rows], benign.labels[rows]
    grid = TapCells(features, 1)
    logits = run_network(network, inputs, [grid], batch_size=128, device=CPU).logits
    right = logits.argmax(1) == labels
    inputs, labels = inputs[right], labels[right]
    profile = profile_on_cpu(
        network, inputs[:400], labels[:400], [grid], classes=10, top_k=5, batch_size=128
    )[features.name]

    def over(part: slice) -> InverseObjective:
        return InverseObjective(
            network=network,
            tap=features,
            profile=profile,
            inputs=inputs[part],
            labels=labels[part],
            bounds=(0.0, 1.0),
            device=CPU,
        )

    return over(slice(0, 400)), over(slice(400, None))


@pytest.fixture(scope="module")
def objectives(example: Example) -> tuple[InverseObjective, InverseObjective]:
    return split_objectives(example)


def value_under(objective: InverseObjective, found: Tensor, *, label: int | None = None) -> float:
    """The objective with a perturbation added, over all inputs or those of one class."""
    rows = np.arange(len(objective.labels))
    if label is not None:
        rows = rows[objective.labels == label]
    inputs, labels = objective.batch(rows)
    added = found[labels] if len(found) > 1 else found
    with torch.no_grad():
        return float(objective.value((inputs + added).clamp(0, 1), labels))


def test_a_universal_ascent_raises_the_objective_on_images_it_never_saw(
    objectives: tuple[InverseObjective, InverseObjective],
) -> None:
    seen, unseen = objectives
    found = ascend(seen, per_class=False, eps=EPS, steps=20, batch_size=96, seed=0)
    assert found.shape == (1, 1, 28, 28)
    assert float(found.abs().max()) <= np.float32(EPS)
    signs = torch.randint(2, found.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    untouched, noisy = (value_under(unseen, r) for r in (torch.zeros_like(found), EPS * signs))
    raised = value_under(unseen, found)
    # Any pattern of this size disturbs the features, so noise lowers the objective by about 0.3.
    assert noisy < untouched - 0.2 and value_under(unseen, -found) < untouched - 0.2
    assert raised > untouched + 0.03
    once = one_step(seen, per_class=False, eps=EPS, batch_size=128, scale=EPS)
    assert noisy + 0.2 < value_under(unseen, once) < raised, "one step helps, an ascent helps more"


def test_every_class_perturbation_raises_its_class_on_images_it_never_saw(
    objectives: tuple[InverseObjective, InverseObjective],
) -> None:
    seen, unseen = objectives
    found = ascend(seen, per_class=True, eps=EPS, steps=15, batch_size=128, seed=0)
    assert found.shape == (10, 1, 28, 28)
    assert float(found.abs().max()) <= np.float32(EPS)
    for label in range(10):
        assert value_under(unseen, found, label=label) > value_under(unseen, 0 * found, label=label) + 0.1


def test_the_seed_decides_and_the_network_stays_as_it_was(
    objectives: tuple[InverseObjective, InverseObjective],
) -> None:
    seen, _ = objectives
    model = seen.network.model
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    first, again, other = (
        ascend(seen, per_class=False, eps=EPS, steps=3, batch_size=16, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
