from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nip_evaluate.attacks import CORE, catalogue, run_attack, transfer_cases
from nip_evaluate.attacks import art_attacks as art
from nip_evaluate.attacks.crafting import in_parts
from nip_evaluate.terms.threats import AttackCase, Attacked, Norm, Threat
from nip_export.support.progress import Advance
from nip_runtime.errors import ExportError, InputError
from tests.evaluate.attacks.conftest import COUNT, Scene

CASES = {case.name: case for case in catalogue()}
FEW = {"Pointwise": 5, "one-pixel": 4, "C&W κ=0": 8, "C&W κ=5": 8, "C&W κ=20": 6, "JSMA": 8}
SKIPPED = ("C&W κ=10",)  # the same code as κ = 20
LOW = ("FGSM 2/255", "FGSM 4/255", "PGD 2/255", "PGD 4/255", "PGD 16/255", "PGD 51/255")


def attack(name: str, scene: Scene, seed: int = 0) -> Attacked:
    case = replace(CASES[name], images=FEW.get(name))
    return run_attack(case, scene.victim, scene.images, scene.labels, seed=seed)


@pytest.fixture(autouse=True, scope="module")
def short() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(art, "PIXEL_GENERATIONS", 2)
        patch.setattr(art, "UAP_ROUNDS", 1)
        patch.setattr(art, "APGD_STEPS", 25)
        yield patch


@pytest.fixture(scope="module")
def made(scene: Scene) -> dict[str, Attacked]:
    return {name: attack(name, scene) for name in CASES if name not in (*SKIPPED, *LOW)}


def test_every_attack_keeps_bounds_and_budget_to_the_last_bit(
    made: dict[str, Attacked], scene: Scene
) -> None:
    for name, attacked in made.items():
        case, images = attacked.case, attacked.images
        assert images.dtype == np.float32, name
        assert images.shape == scene.images[: len(images)].shape, name
        assert 0 <= images.min() <= images.max() <= 1, name
        change = (images.astype(np.float64) - scene.images[: len(images)]).reshape(len(images), -1)
        assert np.abs(change).max() > 0, name
        if case.norm is Norm.LINF and case.epsilon is not None:
            assert np.abs(change).max() <= case.epsilon, name
            # A universal change learnt from so few images does not use all of its budget.
            assert np.abs(change).max() > 0.9 * case.epsilon or case.family == "UAP", name
        if case.norm is Norm.L2 and case.epsilon is not None:
            assert 0.9 * case.epsilon < np.linalg.norm(change, axis=1).max() <= case.epsilon, name


def test_every_attack_fools_the_network(made: dict[str, Attacked], scene: Scene) -> None:
    for name, attacked in made.items():
        before = scene.fooled(scene.images[: len(attacked.images)])
        if name != "uniform noise 25/255":
            assert scene.fooled(attacked.images) > before, name


def test_gradients_reach_further_step_by_step(made: dict[str, Attacked], scene: Scene) -> None:
    fooled = {name: scene.fooled(attacked.images) for name, attacked in made.items()}
    assert fooled["PGD 8/255"] > fooled["FGSM 8/255"] > scene.fooled(scene.images)
    assert fooled["BIM 8/255"] > fooled["FGSM 8/255"]
    assert fooled["PGD 25/255"] == fooled["PGD L2 1.5"] == fooled["MI-FGSM 16/255"] == COUNT
    assert fooled["APGD-CE 8/255"] > fooled["FGSM 8/255"]
    assert fooled["APGD-T 8/255"] > fooled["FGSM 8/255"]
    assert fooled["PGD 25/255"] > fooled["uniform noise 25/255"]


@pytest.mark.parametrize("confidence", [0, 5, 20])
def test_carlini_wagner_reaches_its_margin(confidence: int, made: dict[str, Attacked], scene: Scene) -> None:
    attacked = made[f"C&W κ={confidence}"]
    assert attacked.case.confidence == confidence
    margins = scene.margins(attacked.images)[2:]
    reached = (margins >= confidence - 1e-3).float().mean()
    assert reached == 1 if confidence < 20 else reached > 0.6
    # Where it fails the image is left alone; nothing lies in between.
    untouched = (attacked.images == scene.images[: len(attacked.images)]).all((1, 2, 3))[2:]
    assert ((margins.numpy() >= confidence - 1e-3) ^ untouched).all()


def test_more_confidence_costs_a_larger_change(made: dict[str, Attacked], scene: Scene) -> None:
    sizes = [
        np.linalg.norm(
            (made[f"C&W κ={confidence}"].images[2:6] - scene.images[2:6]).reshape(4, -1), axis=1
        ).mean()
        for confidence in (0, 5, 20)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_minimum_norm_attacks_leave_misclassified_images_alone(
    made: dict[str, Attacked], scene: Scene
) -> None:
    for name in ("C&W κ=0", "C&W κ=5", "DeepFool", "Pointwise", "JSMA"):
        assert np.array_equal(made[name].images[:2], scene.images[:2]), name


def test_the_universal_change_is_one_for_all(made: dict[str, Attacked], scene: Scene) -> None:
    change = made["UAP 25/255"].images - scene.images
    unclipped = (made["UAP 25/255"].images > 0) & (made["UAP 25/255"].images < 1)
    for values, free in zip(change.reshape(COUNT, -1).T, unclipped.reshape(COUNT, -1).T, strict=True):
        if free.sum() > 1:
            assert np.ptp(values[free]) < 1e-6


def test_one_pixel_is_one_pixel(made: dict[str, Attacked], scene: Scene) -> None:
    change = np.abs(made["one-pixel"].images - scene.images[:4]) > 1e-6
    assert set(change.reshape(4, -1).sum(1)) == {0, 1}


@pytest.mark.parametrize("name", ["PGD 8/255", "APGD-CE 8/255", "uniform noise 25/255", "UAP 25/255"])
def test_seeds_decide_and_nothing_outside_is_touched(name: str, scene: Scene) -> None:
    part = Scene(scene.victim, scene.images[2:6], scene.labels[2:8])
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    parameters = {key: value.clone() for key, value in scene.victim.state_dict().items()}
    training = scene.victim.train().training
    first, again, other = (attack(name, part, seed).images for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # type: ignore[index]
    assert random.getstate() == state[2]
    assert scene.victim.training is training
    scene.victim.eval()
    assert all(torch.equal(value, parameters[key]) for key, value in scene.victim.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in scene.victim.parameters())


def test_progress_adds_up_to_the_capped_number(scene: Scene) -> None:
    done: list[int] = []
    case = replace(CASES["FGSM 8/255"], images=10)
    result = run_attack(case, scene.victim, scene.images, scene.labels, seed=0, advance=done.append)
    assert len(result.images) == sum(done) == 10
    assert result.seconds > 0
    assert result.queries is None


def test_the_core_is_complete() -> None:
    assert tuple(name for name in CASES if CASES[name].core) == tuple(n for n in CASES if n in CORE)
    assert set(CORE) <= set(CASES)
    assert len(CASES) == len(catalogue())
    assert all(case.threat is Threat.GRAY_BOX for case in CASES.values())


def test_given_eps_replace_those_of_the_linf_families() -> None:
    cases = {case.name: case for case in catalogue(eps=[0.05, 8 / 255])}
    for family in ("FGSM", "BIM", "MI-FGSM", "PGD", "APGD-CE", "APGD-DLR", "APGD-T"):
        found = [case.epsilon for case in cases.values() if case.family == family]
        assert found == [8 / 255, 0.05], family
    assert {"PGD 0.05", "C&W κ=5", "PGD L2 1.5", "DeepFool"} <= set(cases)
    assert cases["PGD 8/255"].core
    assert not cases["PGD 0.05"].core
    for wrong in (0.0, 8.0, float("nan")):
        with pytest.raises(InputError, match=r"every ε in \(0, 1\]"):
            catalogue(eps=[wrong])


def test_transfer_attacks_are_crafted_on_the_surrogate(scene: Scene) -> None:
    cases = transfer_cases(catalogue())
    assert [case.name for case in cases] == [
        "transfer: FGSM 8/255",
        "transfer: FGSM 25/255",
        "transfer: MI-FGSM 16/255",
        "transfer: PGD 8/255",
        "transfer: PGD 25/255",
    ]
    assert all(case.threat is Threat.TRANSFER and not case.core for case in cases)
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    moved = run_attack(cases[0], linear, scene.images, scene.labels, seed=0).images
    weights = linear[1].weight.detach().numpy()  # type: ignore[operator]
    probabilities = linear(torch.from_numpy(scene.images)).softmax(1).detach().numpy()
    uphill = (probabilities - np.eye(10)[scene.labels]) @ weights
    expected = np.clip(scene.images.reshape(COUNT, -1) + 8 / 255 * np.sign(uphill), 0, 1)
    assert np.abs(moved.reshape(COUNT, -1) - expected).max() < 1e-6


def test_transfer_takes_all_sizes_where_none_is_core() -> None:
    names = [case.name for case in transfer_cases(catalogue(eps=[0.05]))]
    assert names == ["transfer: FGSM 0.05", "transfer: MI-FGSM 0.05", "transfer: PGD 0.05"]


def broken(result: Tensor, norm: Norm = Norm.LINF) -> AttackCase:
    return replace(CASES["FGSM 8/255"], norm=norm, craft=lambda *_: result)


@pytest.mark.parametrize(
    ("change", "norm", "message"),
    [
        (torch.tensor(torch.nan), Norm.LINF, "finite images from the attack 'FGSM 8/255', got NaN"),
        (torch.tensor(2.0), Norm.LINF, r"images in \[0, 1\]"),
        (
            torch.tensor(0.04),
            Norm.LINF,
            "changes within L∞ 0.0313725 from the attack 'FGSM 8/255', got one of 0.0",
        ),
        (
            torch.tensor(0.03),
            Norm.L2,
            "changes within L2 0.0313725 from the attack 'FGSM 8/255', got one of 0.8",
        ),
    ],
)
def test_what_breaks_the_rules_is_refused(change: Tensor, norm: Norm, message: str, scene: Scene) -> None:
    grey = np.full((3, 1, 28, 28), 0.5, np.float32)
    case = broken(torch.from_numpy(grey) + change, norm)
    with pytest.raises(ExportError, match=message):
        run_attack(case, scene.victim, grey, scene.labels[:3], seed=0)


def test_a_result_of_another_shape_is_refused(scene: Scene) -> None:
    with pytest.raises(ExportError, match=r"float32 images of shape \(24, 1, 28, 28\)"):
        run_attack(broken(torch.zeros(2, 2)), scene.victim, scene.images, scene.labels, seed=0)


def test_attacks_on_images_refuse_other_inputs(scene: Scene) -> None:
    linear, inputs = nn.Linear(16, 4), np.zeros((3, 16), np.float32)
    labels = linear(torch.from_numpy(inputs)).argmax(1).numpy()
    with pytest.raises(InputError, match="for the one-pixel attack"):
        run_attack(CASES["one-pixel"], linear, inputs, labels, seed=0)


def test_gradient_attacks_take_inputs_that_are_no_images() -> None:
    torch.manual_seed(0)
    linear, inputs = nn.Linear(16, 4), np.full((6, 16), 0.5, np.float32)
    labels = linear(torch.from_numpy(inputs)).argmax(1).numpy()
    for name in ("PGD 51/255", "APGD-CE 8/255", "C&W κ=0", "DeepFool"):
        moved = run_attack(CASES[name], linear, inputs, labels, seed=0).images
        assert moved.shape == inputs.shape
        assert np.abs(moved - inputs).max() > 0


def test_in_parts_attacks_every_image_once_with_seeds_of_its_own() -> None:
    seen: list[tuple[list[float], list[int], int]] = []

    def craft(victim: nn.Module, images: Tensor, labels: Tensor, seed: int, advance: Advance) -> Tensor:
        seen.append((images[:, 0].tolist(), labels.tolist(), seed))
        advance(len(images))
        return images + 0.5

    done: list[int] = []
    images = torch.arange(5.0).reshape(5, 1)
    attacked = in_parts(craft, 2)(nn.Identity(), images, torch.arange(5), 7, done.append)
    assert torch.equal(attacked, images + 0.5)
    assert seen == [([0.0, 1.0], [0, 1], 7), ([2.0, 3.0], [2, 3], 9), ([4.0], [4], 11)]
    assert done == [2, 2, 1]
