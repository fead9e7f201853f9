"""Labels in another order than the logits are told from a model that is merely weak."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export.fit.class_order import order_of, other_order

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


def answers(accuracy: float, *, classes: int, rows: int, seed: int, towards: int | None = None) -> Pair:
    """True classes and what a model says of them; its mistakes fall anywhere, or mostly on one class."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    wrong = random.integers(0, classes, rows) if towards is None else np.full(rows, towards)
    return truth, np.where(random.random(rows) < accuracy, truth, wrong)


@pytest.mark.parametrize("towards", [None, 3])
@pytest.mark.parametrize("classes", [2, 10, 200, 1000])
@pytest.mark.parametrize("accuracy", [0.0, 0.2, 0.5, 0.95])
def test_a_weak_model_is_no_other_order(accuracy: float, classes: int, towards: int | None) -> None:
    """At most where chance has it: of 20 draws none or one."""
    if towards is not None and towards >= classes:
        towards = 0
    found = 0
    for seed in range(20):
        profile = answers(accuracy, classes=classes, rows=600, seed=seed, towards=towards)
        held = answers(accuracy, classes=classes, rows=400, seed=100 + seed, towards=towards)
        found += other_order(profile, held, None) is not None
    assert found <= 1


@pytest.mark.parametrize("accuracy", [0.5, 0.95])
@pytest.mark.parametrize("classes", [3, 10, 50])
def test_sorted_names_of_numbered_classes_are_found_out(classes: int, accuracy: float) -> None:
    """1, 10, 11 … 2, 20: as text sorts numbers."""
    number_of = np.argsort(np.argsort([f"c{number}" for number in range(classes)]))
    if classes <= 10:
        number_of = np.roll(np.arange(classes), 1)
    held = answers(accuracy, classes=classes, rows=1000, seed=1)
    profile = answers(accuracy, classes=classes, rows=1500, seed=2)
    found = other_order((number_of[profile[0]], profile[1]), (number_of[held[0]], held[1]), None)
    assert found is not None
    first = int(np.flatnonzero(np.argsort(number_of) != np.arange(classes))[0])
    assert f" if class {first} is logit {np.argsort(number_of)[first]}, " in found


def test_ties_go_to_the_order_that_is_stated() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([1, 0, 0, 1])
    assert order_of(labels, predicted) == {0: 0, 1: 1}


def test_a_mistake_for_a_class_without_images_is_no_other_order() -> None:
    """Of three classes with images the model calls most of one by the name of a fourth."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 1000)
    predicted = np.where((labels == 2) & (random.random(1000) < 0.8), 3, labels)
    assert order_of(labels, predicted) == {0: 0, 1: 1, 2: 2}
    assert other_order((labels, predicted), (labels, predicted), None) is None
