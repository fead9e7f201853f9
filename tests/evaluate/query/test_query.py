from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nip_evaluate.attacks import run_attack
from nip_evaluate.query import DeployedModule, query_cases
from nip_evaluate.query.decisions import boundary, hop_skip_jump
from nip_evaluate.query.scores import SHARE, RememberedAnswers, first_share, square
from nip_evaluate.terms.threats import Attacked, Craft, Threat
from nip_runtime.errors import ExportError
from tests.evaluate.query.conftest import COUNT, Deployed

CASES = {case.name: case for case in query_cases()}
SHORT: dict[str, Callable[[], Craft]] = {
    "Square 25/255": lambda: square(25 / 255, queries=60),
    "HopSkipJump L2 1.5": lambda: hop_skip_jump(1.5, steps=2),
    "Boundary L2 1.5": lambda: boundary(1.5, steps=150),
}


def attack(name: str, deployed: Deployed, seed: int = 0) -> tuple[Attacked, DeployedModule]:
    victim = DeployedModule(deployed.session)
    case = replace(CASES[name], craft=SHORT[name]())
    return run_attack(case, victim, deployed.images, deployed.labels, seed=seed), victim


def test_the_module_answers_what_the_file_answers_and_counts(deployed: Deployed) -> None:
    victim = DeployedModule(deployed.session)
    images = torch.from_numpy(deployed.images).requires_grad_()
    logits = victim(images)
    assert not logits.requires_grad
    assert np.array_equal(logits.numpy(), deployed.session.predict(deployed.images).logits)
    assert victim.rows_answered == COUNT
    # What rounding carries out of bounds, the session alone would refuse.
    assert torch.equal(victim(torch.full((2, 1, 28, 28), 1 + 1e-7)), victim(torch.ones(2, 1, 28, 28)))
    assert victim.rows_answered == COUNT + 4


@pytest.mark.parametrize("name", list(SHORT))
def test_answers_alone_lead_to_changes_within_the_budget(name: str, deployed: Deployed) -> None:
    result, victim = attack(name, deployed)
    again, _ = attack(name, deployed)
    assert np.array_equal(result.images, again.images)
    change = (result.images.astype(np.float64) - deployed.images).reshape(COUNT, -1)
    size = np.abs(change).max(1) if name.startswith("Square") else np.linalg.norm(change, axis=1)
    epsilon = result.case.epsilon
    assert epsilon is not None
    assert size.max() <= epsilon + 1e-6
    wrong = deployed.wrong(result.images)
    assert wrong.sum() > 1, "only the image that was misclassified from the start"
    assert not change[0].any(), "which stays as it is"
    if result.case.family != "Square":
        assert (wrong[1:] == (size[1:] > 0)).all(), "not attacked within the budget, not changed"
    assert result.queries is not None
    assert result.queries * COUNT == victim.rows_answered > COUNT


def test_square_asks_about_once_a_step_and_image(deployed: Deployed) -> None:
    result, _ = attack("Square 25/255", deployed)
    assert result.queries is not None
    assert 1 < result.queries <= 60 + 5


class Brighter(nn.Module):
    """Says how much brighter an image's middle is than its edge."""

    def forward(self, images: Tensor) -> Tensor:
        middle = images[:, :, 1:-1, 2:-2].mean((1, 2, 3)) - 0.5
        return 20 * torch.stack([-middle, middle], 1)


@pytest.mark.parametrize("shape", [(3, 6, 40), (1, 40, 6), (3, 8, 8)])
def test_square_finds_its_way_on_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    images = np.full((4, *shape), 0.49, np.float32)
    case = replace(CASES["Square 25/255"], craft=square(25 / 255, queries=60))
    found = run_attack(case, Brighter().eval(), images, np.zeros(4, np.int64), seed=0).images
    with torch.no_grad():
        assert (Brighter()(torch.from_numpy(found)).argmax(1) == 1).all()
    assert 0 < np.abs(found - images).max() <= 25 / 255 + 1e-6


def test_the_first_square_is_as_large_as_it_may_be() -> None:
    assert first_share(28, 28) == first_share(224, 224) == SHARE
    for height, width in ((48, 192), (2, 2), (2, 300), (7, 5)):
        side = round((first_share(height, width) * height * width) ** 0.5)
        assert side == min(round((SHARE * height * width) ** 0.5), min(height, width) - 1)


def test_more_queries_get_further(deployed: Deployed) -> None:
    """HopSkipJump's smallest changes shrink with its steps."""

    def median(steps: int) -> float:
        # No budget to speak of, so that every image counts.
        case = replace(CASES["HopSkipJump L2 1.5"], epsilon=28.0, craft=hop_skip_jump(28.0, steps))
        victim = DeployedModule(deployed.session)
        found = run_attack(case, victim, deployed.images[1:7], deployed.labels[1:7], seed=0).images
        return float(np.median(np.linalg.norm((found - deployed.images[1:7]).reshape(6, -1), axis=1)))

    assert 0 < median(3) < median(1)


class OnlyOneClass(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0, -1.0]]).repeat(len(images), 1)


@pytest.mark.parametrize("name", list(SHORT))
def test_where_nothing_is_misclassified_nothing_is_changed(name: str) -> None:
    images = np.full((3, 1, 8, 8), 0.5, np.float32)
    case = replace(CASES[name], craft=SHORT[name]())
    if name.startswith("Square"):
        result = run_attack(case, OnlyOneClass().eval(), images, np.zeros(3, np.int64), seed=0)
        assert np.abs(result.images - images).max() <= 25 / 255
    else:
        result = run_attack(case, OnlyOneClass().eval(), images, np.zeros(3, np.int64), seed=0)
        assert np.array_equal(result.images, images)
    assert result.queries is None


def test_no_question_is_asked_twice(deployed: Deployed) -> None:
    victim = DeployedModule(deployed.session)
    answers = RememberedAnswers(victim)
    twice = np.concatenate([deployed.images[:3], deployed.images[:3]])
    first = answers(twice)
    assert victim.rows_answered == 3
    assert np.array_equal(first[:3], first[3:])
    assert np.array_equal(answers(deployed.images[1:4])[:2], first[1:3])
    assert victim.rows_answered == 4
    assert np.allclose(first[:3], deployed.session.predict(deployed.images[:3]).logits, atol=1e-4)


def test_the_module_is_attacked_itself_not_a_copy(deployed: Deployed) -> None:
    victim = DeployedModule(deployed.session)
    seen: list[nn.Module] = []

    def craft(target: nn.Module, images: Tensor, *rest: object) -> Tensor:
        seen.append(target)
        return images + 1

    case = replace(CASES["Square 8/255"], craft=craft)
    with pytest.raises(ExportError, match="Square 8/255"):
        run_attack(case, victim, deployed.images, deployed.labels, seed=0)
    assert seen == [victim]


def test_the_cases() -> None:
    assert list(CASES) == ["Square 8/255", "Square 25/255", "HopSkipJump L2 1.5", "Boundary L2 1.5"]
    quick = query_cases(quick=True)
    assert [case.name for case in quick] == ["Square 8/255", "HopSkipJump L2 1.5"]
    for case in (*quick, *CASES.values()):
        assert case.threat is Threat.QUERY
        assert not case.core
        assert not case.minimum_norm
    for case in quick:
        full = CASES[case.name]
        assert (case.images or 0) < (full.images or 0)
    assert "beyond 1.5 count as not attacked" in CASES["Boundary L2 1.5"].settings
