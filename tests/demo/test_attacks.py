from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nip_export.data import to_model_input
from nip_export.demo.attacks import CASES, AttackCase, Attacked, run_attack
from nip_export.demo.example import Example

COUNT = 24


@pytest.fixture(scope="session")
def images(example: Example) -> npt.NDArray[np.float32]:
    return to_model_input(example.test.images[:COUNT], 1)


def attack(case: AttackCase, example: Example, images: npt.NDArray[np.float32], seed: int = 0) -> Attacked:
    labels = example.test.labels[: len(images)]
    return run_attack(case, example.model, images, labels, mean=example.mean, std=example.std, seed=seed)


def wrong(example: Example, images: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Straight from the network, not through foolbox."""
    with torch.no_grad():
        logits = example.model((torch.from_numpy(images) - example.mean[0]) / example.std[0])
    missed: npt.NDArray[np.bool_] = logits.argmax(1).numpy() != example.test.labels[: len(images)]
    return missed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_attack_fools_the_network_within_its_budget(
    case: AttackCase, example: Example, images: npt.NDArray[np.float32]
) -> None:
    before = int(wrong(example, images).sum())
    result = attack(case, example, images)
    assert result.images.dtype == np.float32
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    # That it fooled the network is checked without foolbox: normalisation included, both must agree.
    assert np.array_equal(result.fooled, wrong(example, result.images))
    assert result.fooled.sum() > before
    if case.epsilon is None:
        assert result.fooled.all()
        assert np.median(np.linalg.norm((result.images - images).reshape(COUNT, -1), axis=1)) < 1
    else:
        largest = np.abs(result.images - images).max()
        assert 0.9 * case.epsilon < largest <= case.epsilon + 1e-6


def test_pgd_leaves_less_than_fgsm(example: Example, images: npt.NDArray[np.float32]) -> None:
    fgsm, pgd = (attack(case, example, images).fooled.sum() for case in CASES[:2])
    assert pgd > fgsm


def test_the_seed_decides_the_random_start_and_nothing_outside_is_touched(
    example: Example, images: npt.NDArray[np.float32]
) -> None:
    case = CASES[1]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (attack(case, example, images[:8], seed).images for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in example.model.parameters())
    assert all(parameter.grad is None for parameter in example.model.parameters())


def test_images_caps_the_number_attacked_and_progress_adds_up(
    example: Example, images: npt.NDArray[np.float32]
) -> None:
    done: list[int] = []
    result = run_attack(
        replace(CASES[0], images=10),
        example.model,
        images,
        example.test.labels[:COUNT],
        mean=example.mean,
        std=example.std,
        seed=0,
        advance=done.append,
    )
    assert len(result.images) == len(result.fooled) == sum(done) == 10


def test_restarts_touch_only_images_not_yet_fooled(example: Example, images: npt.NDArray[np.float32]) -> None:
    weak = replace(CASES[1], restarts=0)
    once, restarted = attack(weak, example, images), attack(replace(weak, restarts=2), example, images)
    assert np.array_equal(restarted.images[once.fooled], once.images[once.fooled])
    assert restarted.fooled.sum() >= once.fooled.sum()
