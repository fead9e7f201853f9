"""What is counted and measured of a view."""

from __future__ import annotations

import numpy as np
import pytest

from nip_export.calibrate import choose_view
from nip_export.calibrate.view import (
    MOST_MISTAKES,
    MOST_RIGHT,
)
from nip_export.defence.views import View
from nip_export.network.run import Passed
from nip_runtime.file.rates import Rate
from tests.maths.benign_like import known_of
from tests.maths.second_looks import MIRROR, Effect, Rows, World


def test_noticed_is_the_share_that_responds_towards_its_own_class_more_than_benign_images_do() -> None:
    """Two classes, and logits that the view leaves alone but for a fixed rise of the other class."""
    count = 200
    labels = np.arange(count) % 2
    gap = np.where(np.arange(count) < 100, 10.0, 1.0)  # a quarter of the way back is up to 5, or up to 0.5
    logits = np.where(np.eye(2, dtype=bool)[labels], gap[:, None], 0).astype(np.float32)
    rises = np.random.default_rng(0).uniform(0, 2, count).astype(np.float32)
    features = np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)
    pooled = {"layer": np.zeros((count, 2), np.float32), "features": features}

    def second(view: View, rho: bool, rows: Rows) -> Passed:
        moved = logits.copy()
        moved[np.arange(count), 1 - labels] += rises
        return Passed(moved[rows], {name: values[rows] for name, values in pooled.items()})

    raw = Passed(logits, pooled)
    _, (trial,) = choose_view([MIRROR], second, raw, labels, known_of(2), seed=0, rho=False)
    assert trial.noticed is not None
    assert 80 < trial.noticed.n < count, "pairs of one class say nothing"
    # Only those with a wide gap on either side rise by more than the benign 2.
    assert 0.4 < trial.noticed.value < 0.8
    one = np.zeros(count, np.int64)
    _, (alone,) = choose_view([MIRROR], second, raw, one, known_of(2), seed=0, rho=False)
    assert alone.noticed is None, "right answers of one class"


def test_the_numbers_of_a_trial_are_what_their_names_say() -> None:
    world = World({(MIRROR, False): Effect(repairs=0.5, loses=0.2, strength=0.25)}, right=60, wrong=40)
    _, (trial,) = world.choose([MIRROR])
    (_, _, rows) = world.asked[0]
    second = world.second(MIRROR, False, rows)
    correct = world.predicted[rows] == world.labels[rows]
    kept = (second.logits.argmax(1) == world.predicted[rows])[correct]
    assert trial.kept == Rate(int(kept.sum()), 60)
    assert trial.repaired is not None
    assert trial.repaired.n == 40 and 18 <= trial.repaired.count <= 32, "half, and a third of the others"
    assert trial.worth == trial.told * trial.repaired.value
    features = world.raw.pooled["features"][rows]
    apart = np.linalg.norm(features - features.mean(0), axis=1).mean()
    assert trial.strength == pytest.approx(0.25 / apart, rel=1e-5)
    assert 0.5 < trial.told < 1


def test_told_is_the_chance_that_a_mistake_responds_more_than_a_right_answer() -> None:
    """Two classes, no noise: the response is the other class's rise, so the chance can be counted."""
    rises = np.array([0.0, 1, 2, 3, 1, 4, 9], np.float32)  # four right answers, three mistakes
    labels, known = np.array([0, 0, 0, 0, 1, 1, 1]), known_of(2)
    logits = np.tile(np.array([5, 0], np.float32), (7, 1))
    pooled = {"layer": np.zeros((7, 2), np.float32), "features": np.eye(7, 3, dtype=np.float32)}

    def second(view: View, rho: bool, rows: Rows) -> Passed:
        moved = logits.copy()
        moved[:, 1] += rises
        return Passed(moved[rows], {name: values[rows] for name, values in pooled.items()})

    _, (trial,) = choose_view([MIRROR], second, Passed(logits, pooled), labels, known, seed=0, rho=False)
    # 1 against 0, 1, 2, 3: one larger, one alike; 4 and 9 exceed all four.
    assert trial.told == pytest.approx((1.5 + 4 + 4) / 12)
    assert trial.kept == Rate(4, 4) and trial.repaired == Rate(3, 3)
    assert trial.strength == 0


def test_at_most_three_hundred_of_either_kind_are_looked_at_and_the_seed_picks_them() -> None:
    world = World({(MIRROR, False): Effect()}, right=500, wrong=350)
    for seed in (1, 1, 2):
        world.choose([MIRROR], seed=seed)
    first, again, other = (rows for _, _, rows in world.asked)
    correct = world.predicted[first] == world.labels[first]
    assert (correct.sum(), (~correct).sum()) == (MOST_RIGHT, MOST_MISTAKES) == (300, 300)
    assert len(set(first.tolist())) == len(first)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_response_no_larger_than_that_of_benign_images_is_not_noticed() -> None:
    """Every other class rises by 8, and a quarter of the way from 8 below to 8 above lifts it by as much."""
    labels = np.arange(100) % 2
    logits = (8 * np.eye(2)[labels]).astype(np.float32)
    features = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    raw = Passed(logits, {"layer": np.zeros((100, 2), np.float32), "features": features})

    def noticed(rise: float) -> Rate | None:
        def second(view: View, rho: bool, rows: Rows) -> Passed:
            return Passed(np.where(logits == 8, 8, np.float32(rise))[rows], raw.take(rows).pooled)

        return choose_view([MIRROR], second, raw, labels, known_of(2), seed=0, rho=False)[1][0].noticed

    alike, larger = noticed(8), noticed(6)  # 4 + 8 / 2 is 8; 4 + 6 / 2 is more than 6
    assert alike is not None and larger is not None
    assert (alike.value, larger.value) == (0, 1)
