from __future__ import annotations

import math

import numpy as np
import pytest

from nip_evaluate.baselines.scores import (
    energy,
    fit_energy,
    fit_largest,
    fit_margin,
    largest_logit,
    margin,
    rarity,
)
from nip_evaluate.terms.threats import Images

BUDGET = 0.05


def test_scores_by_hand() -> None:
    logits = np.array([[0.0, math.log(3.0), -1e6], [7.0, 7.0, 2.0]], np.float32)
    np.testing.assert_allclose(energy(logits), [-math.log(4), -7 - math.log(2 + math.exp(-5))], rtol=1e-6)
    np.testing.assert_allclose(largest_logit(logits), [math.log(3), 7], rtol=1e-6)
    np.testing.assert_allclose(margin(logits), [math.log(3), 0], rtol=1e-6)
    huge = np.array([[1e4, 0.0]], np.float32)
    assert energy(huge) == -1e4  # no overflow


def test_rarity_rises_to_both_sides_of_the_benign_values() -> None:
    benign = np.random.default_rng(0).normal(10, 2, 2000)
    rare = rarity(benign)
    values = rare(np.array([0.0, 4.0, 7.0, 10.0, 13.0, 16.0, 20.0]))
    assert (np.diff(values[:4]) < 0).all() and (np.diff(values[3:]) > 0).all()
    # A share of 1 % lies beyond 2.326 deviations on each side.
    np.testing.assert_allclose(rare(10 + 2 * np.array([-2.326, 2.326])), [2, 2], atol=0.15)


def forward(images: Images) -> Images:
    """Logits are the pixels."""
    return images.reshape(len(images), -1)


def benign() -> tuple[Images, np.typing.NDArray[np.int64]]:
    random = np.random.default_rng(1)
    logits = random.normal(0, 0.5, (800, 3)).astype(np.float32)
    logits[np.arange(800), np.arange(800) % 3] += random.normal(12, 1, 800)
    return logits, np.arange(800) % 3


@pytest.mark.parametrize("fit", [fit_energy, fit_largest])
def test_energy_and_largest_logit_flag_overdriven_and_underdriven_logits(fit: object) -> None:
    assert callable(fit)
    images, labels = benign()
    defence = fit(forward, images, labels).defence(BUDGET)
    answers = defence.answer(np.array([[40, 0, 0], [12, 0, 0], [0, 1, 0]], np.float32))
    assert answers.flagged.tolist() == [True, False, True]
    assert answers.labels.tolist() == answers.raw_labels.tolist() == [0, 0, 1]


def test_the_margin_flags_what_stands_near_a_boundary_alone() -> None:
    images, labels = benign()
    defence = fit_margin(forward, images, labels).defence(BUDGET)
    answers = defence.answer(np.array([[40, 0, 0], [12, 0, 0], [12, 11.5, 0]], np.float32))
    assert answers.flagged is not None and answers.flagged.tolist() == [False, False, True]
    assert answers.labels.tolist() == [0, 0, 0]
