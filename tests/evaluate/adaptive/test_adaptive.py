"""Adaptive attacks against the embedded example, exported small, under every policy."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_evaluate.adaptive import adaptive_cases, parity
from nip_evaluate.adaptive.ascent import Ball, ascend, windows
from nip_evaluate.adaptive.cases import RECIPES, Recipe
from nip_evaluate.adaptive.craft import Attempt, attack, look_at
from nip_evaluate.adaptive.objectives import Goal, every_view
from nip_evaluate.adaptive.passes import read_passes, success, typicality
from nip_evaluate.terms.threats import Norm, Threat
from nip_export import ExportConfig, ExportReport, export_defended
from nip_export.data import to_model_input
from nip_export.demo.example import Example, load_example
from nip_export.verify import DefendedTwin
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import ViewStep
from nip_runtime.session import DefendedSession

COUNT = 40
STEPS = 10
EPS = 8 / 255
POLICIES = ("guarded", "always", "detect")
SHORT = {recipe.family[9]: recipe for recipe in RECIPES}


@dataclass(frozen=True, eq=False)
class Made:
    """A small export and the images to attack."""

    report: ExportReport
    images: Tensor
    labels: Tensor

    @cached_property
    def twin(self) -> DefendedTwin:
        return copy.deepcopy(DefendedTwin(self.report.network, self.report.spec))

    @cached_property
    def session(self) -> DefendedSession:
        return DefendedSession(self.report.path, device="cpu", threads=1)

    def right(self, images: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Rows that the *file* answers rightly."""
        correct: NDArray[np.bool_] = self.session.predict(images).labels == self.labels[: len(images)].numpy()
        return correct

    def attack(self, recipe: Recipe, count: int, *, steps: int, eps: float = EPS, seed: int = 0) -> Tensor:
        return attack(
            self.twin,
            self.images[:count],
            self.labels[:count],
            seed,
            lambda done: None,
            attempts=recipe.attempts,
            epsilon=eps,
            steps=steps,
        )


@pytest.fixture(scope="module")
def example() -> Example:
    return load_example()


@pytest.fixture(scope="module")
def made(example: Example, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    folder = tmp_path_factory.mktemp("adaptive")
    return {policy: export(example, policy, folder / f"{policy}.onnx") for policy in POLICIES}


def export(example: Example, policy: str, path: Path) -> Made:
    profile, held_out = example.profile.take(np.arange(300)), example.calibration.take(np.arange(400))
    config = ExportConfig(mean=example.mean, std=example.std, policy=policy, ascent_steps=3)  # type: ignore[arg-type]  # a plain str
    report = export_defended(
        example.model,
        profile.images,
        profile.labels,
        path,
        calibration=(held_out.images, held_out.labels),
        config=config,
    )
    images = to_model_input(example.test.images, 1)[:COUNT]
    return Made(report, torch.from_numpy(images), torch.from_numpy(example.test.labels[:COUNT]))


@pytest.fixture(scope="module")
def guarded(made: dict[str, Made]) -> Made:
    return made["guarded"]


class Undefended(nn.Module):
    """The backbone's logits alone."""

    def __init__(self, twin: DefendedTwin) -> None:
        super().__init__()
        self.network = twin.network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits


@pytest.fixture(scope="module")
def attacked(guarded: Made) -> dict[str, NDArray[np.float32]]:
    """What each attack makes of the images, by family."""
    return {recipe.family: guarded.attack(recipe, COUNT, steps=STEPS, seed=3).numpy() for recipe in RECIPES}


@pytest.fixture(scope="module")
def gray_box(guarded: Made) -> NDArray[np.float32]:
    """PGD by foolbox on the backbone alone."""
    backbone = copy.deepcopy(Undefended(guarded.twin)).eval().requires_grad_(False)
    model = PyTorchModel(backbone, bounds=(0, 1), device="cpu")
    pgd = LinfProjectedGradientDescentAttack(steps=40, rel_stepsize=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved: Tensor = pgd(model, guarded.images, guarded.labels, epsilons=EPS)[1]
    return moved.detach().clamp(0, 1).numpy()


def test_the_cases_are_six_per_budget_and_say_what_they_are() -> None:
    cases = adaptive_cases()
    assert len({case.name for case in cases}) == len(cases) == 12
    for case in cases:
        assert (case.threat, case.norm, case.library) == (Threat.ADAPTIVE, Norm.LINF, "nip_export")
        assert case.epsilon is not None
        assert case.name == f"{case.family} {case.epsilon * 255:g}/255"
        assert "no EOT" in case.settings
        assert case.images == 200
    assert [case.family[9] for case in cases] == list("abcdef") * 2
    assert all(case.images == 30 for case in adaptive_cases(quick=True))


def test_budget_and_bounds_are_kept(guarded: Made, attacked: dict[str, NDArray[np.float32]]) -> None:
    for moved in attacked.values():
        assert moved.dtype == np.float32
        assert 0 <= moved.min() <= moved.max() <= 1
        assert 0.9 * EPS < np.abs(moved - guarded.images.numpy()).max() <= EPS + 1e-6


def test_every_attack_fools_the_file_more_often_than_gray_box_pgd(
    guarded: Made, attacked: dict[str, NDArray[np.float32]], gray_box: NDArray[np.float32]
) -> None:
    """Counted by the exported file, not by the twin."""
    start = guarded.right(gray_box).sum()
    left = {name: guarded.right(moved) for name, moved in attacked.items()}
    assert start > COUNT / 2
    for name, right in left.items():
        assert right.sum() < 0.7 * start, (name, right.sum(), start)
    worst = np.logical_and.reduce(list(left.values()))
    assert all(worst.sum() <= right.sum() for right in left.values())
    assert worst.sum() < 0.65 * start


def test_the_sixth_attack_shows_both_passes_a_wrong_class_of_typical_features(
    guarded: Made, attacked: dict[str, NDArray[np.float32]], gray_box: NDArray[np.float32]
) -> None:
    assert SHORT["f"].family == "adaptive f: every view, typical"
    moved, goal = torch.from_numpy(attacked[SHORT["f"].family]), Goal(guarded.labels, None, ())
    with torch.no_grad():
        ours, theirs, benign = (
            read_passes(guarded.twin, images)
            for images in (moved, torch.from_numpy(gray_box), guarded.images)
        )
        fooled = ours.raw.argmax(1) != guarded.labels
        assert fooled.sum() > COUNT / 4
        wrong = ours.second.argmax(1) != guarded.labels
        assert float(wrong[fooled].float().mean()) > 0.6, "most are wrong in both passes"
        assert float(guarded.twin(moved).flagged[fooled].float().mean()) < 0.2
        values, far = (
            [float(each[fooled].mean()) for each in found]
            for found in (
                [every_view(matching=0)(guarded.twin, p, goal) for p in (ours, theirs, benign)],
                [typicality(guarded.twin, p, p.raw.argmax(1)) for p in (ours, theirs)],
            )
        )
    assert values[0] > max(values[1:]), "further than an attacker who does not know the defence"
    assert far[0] < far[1], "who strays further from what is typical"


def test_success_is_what_the_twin_answers(made: dict[str, Made], gray_box: NDArray[np.float32]) -> None:
    """The attacker's reading of the passes gives the twin's answers, on benign, noisy and attacked images."""
    for policy, each in made.items():
        noise = (torch.rand(each.images.shape, generator=torch.Generator().manual_seed(1)) - 0.5) * 0.5
        images = torch.cat([each.images, (each.images + noise).clamp(0, 1), torch.from_numpy(gray_box)])
        labels = each.labels.repeat(3)
        with torch.no_grad():
            outputs = each.twin(images)
            wrong = outputs.logits.argmax(1) != labels
            if policy == "detect":
                wrong &= ~outputs.flagged
            assert outputs.flagged.any()
            assert wrong.any() and not wrong.all()
            for straight in (False, True):
                passes = read_passes(each.twin, images, straight_through=straight)
                assert torch.equal(success(each.twin, passes, labels) > 0, wrong)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("family", "abcdef")
def test_gradients_are_finite_and_reach_the_image(made: dict[str, Made], policy: str, family: str) -> None:
    twin, count = made[policy].twin.eval(), 8
    aims = look_at(twin, made[policy].images[:count], made[policy].labels[:count])
    for attempt in SHORT[family].attempts:
        goal = aims.goal(torch.arange(count), attempt.rank)
        # Flat black and white images as well, where clip and ReLU saturate.
        images = made[policy].images[:count].clone()
        images[0], images[1] = 0, 1
        images.requires_grad_(True)
        passes = read_passes(twin, images, straight_through=attempt.straight_through)
        value = attempt.objective(twin, passes, goal)
        (gradient,) = torch.autograd.grad(value.sum(), images)
        assert value.shape == (count,)
        assert gradient.isfinite().all()
        assert (gradient.flatten(1).abs().amax(1) > 0).float().mean() > 0.7


@pytest.mark.parametrize("policy", ("always", "detect"))
def test_every_attack_works_under_the_other_policies(made: dict[str, Made], policy: str) -> None:
    """At 25/255, a few steps are enough to beat most of ten images."""
    each, truth = made[policy], made[policy].labels[:10].numpy()
    before = each.session.predict(each.images[:10].numpy())
    for recipe in RECIPES:
        after = each.session.predict(each.attack(recipe, 10, steps=8, eps=25 / 255).numpy())
        held = (after.raw_labels == truth) | after.flagged if policy == "detect" else after.labels == truth
        assert held.sum() <= 3 < (before.labels == truth).sum(), recipe.family


def test_the_seed_decides_the_start(guarded: Made) -> None:
    recipe = replace(RECIPES[0], attempts=(Attempt(objective=RECIPES[0].attempts[0].objective),))
    first, again = (guarded.attack(recipe, 8, steps=2, seed=5) for _ in range(2))
    other = guarded.attack(recipe, 8, steps=2, seed=6)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_twin_is_left_as_it_was(guarded: Made) -> None:
    twin = guarded.twin.train()
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    guarded.attack(RECIPES[4], 4, steps=1)
    assert twin.training
    assert all(torch.equal(before[name], value) for name, value in twin.state_dict().items())
    assert all(parameter.grad is None for parameter in twin.parameters())
    twin.eval()


def test_a_case_reports_every_image_as_done_once(guarded: Made) -> None:
    done: list[int] = []
    moved = adaptive_cases((EPS,), quick=True)[1].craft(
        guarded.twin, guarded.images[:6], guarded.labels[:6], 0, done.append
    )
    assert moved.shape == (6, 1, 28, 28)
    assert sum(done) == 6
    assert min(done) >= 0


def test_another_module_than_the_twin_is_refused(guarded: Made) -> None:
    with pytest.raises(InputError, match="DefendedTwin"):
        adaptive_cases()[0].craft(nn.Flatten(), guarded.images, guarded.labels, 0, lambda done: None)


def test_twin_and_file_agree_also_on_adversarials(
    made: dict[str, Made], attacked: dict[str, NDArray[np.float32]]
) -> None:
    for policy, each in made.items():
        for images in (each.images.numpy(), *list(attacked.values())[1:4]):
            found = parity(each.twin, each.session, images)
            assert found.holds, (policy, str(found))
            assert found.backbone_difference < 1e-4
            assert found.same_answer.n == found.same_flag.n == COUNT


def test_parity_fails_for_a_twin_that_is_not_the_file(
    guarded: Made, attacked: dict[str, NDArray[np.float32]], gray_box: NDArray[np.float32]
) -> None:
    images = next(iter(attacked.values()))
    spec = guarded.report.spec
    lenient = DefendedTwin(guarded.report.network, replace(spec, gate=replace(spec.gate, flag_threshold=0.5)))
    moved = parity(lenient, guarded.session, images)
    assert not moved.holds
    assert moved.unexplained > 0
    assert moved.same_flag.value < 1
    assert spec.view != (ViewStep.BITS,)
    exchanged = DefendedTwin(guarded.report.network, replace(spec, view=(ViewStep.BITS,)))
    other = parity(exchanged, guarded.session, np.concatenate([images, gray_box]))
    assert not other.holds
    with pytest.raises(InputError, match="at least one image"):
        parity(guarded.twin, guarded.session, images[:0])


def test_windows_shrink_and_end_with_the_steps() -> None:
    """APGD's checkpoints for 100 steps, from the paper's recursion."""
    assert sorted(windows(100))[:7] == [22, 41, 57, 70, 80, 87, 93]


def test_the_ascent_reaches_a_known_optimum_and_survives_what_is_not_a_number() -> None:
    """Vectors: the nearest point to a peak inside the box; row 1 has no value, row 2 leaves at once."""
    centre = torch.full((3, 4), 0.5)
    peak = torch.tensor([0.9, 0.52, 0.1, 0.45])
    seen: list[Tensor] = []

    def climb(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(rows)
        value = -(images - peak).square().sum(1)
        value = torch.where(rows == 1, value * torch.nan, value)
        return value, torch.where(rows == 2, 1.0, -torch.inf)

    found = ascend(climb, Ball(centre, 0.1, (0.0, 1.0)), centre, steps=60)
    assert found.images.isfinite().all()
    assert found.safely.tolist() == [False, False, True]
    assert torch.equal(found.images[2], centre[2])
    assert all(2 not in rows for rows in seen[1:])

    def score(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        value = -(images - peak).square().sum(1)
        return value, value.detach()

    best = ascend(score, Ball(centre, 0.1, (0.0, 1.0)), centre, steps=60, until=torch.inf).images
    torch.testing.assert_close(best[0], torch.tensor([0.6, 0.52, 0.4, 0.45]), atol=2e-3, rtol=0)
