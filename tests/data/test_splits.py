from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nip_export.data import stratified_split
from nip_runtime.errors import InputError


@given(
    counts=st.lists(st.integers(2, 30), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**31),
)
def test_the_parts_are_disjoint_cover_everything_and_keep_every_class(
    counts: list[int], fraction: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    kept, held = stratified_split(labels, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    for label, count in enumerate(counts):
        in_held = int((labels[held] == label).sum())
        assert 1 <= in_held < count
        assert abs(in_held - fraction * count) <= 1


def test_the_second_part_has_the_stated_share() -> None:
    kept, held = stratified_split(np.repeat(np.arange(3), 100), 0.3, 0)
    assert (len(kept), len(held)) == (210, 90)


def test_the_seed_decides() -> None:
    labels = np.repeat(np.arange(4), 50)
    first, again, other = (stratified_split(labels, 0.5, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_bounds_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        stratified_split(np.repeat(np.arange(2), 5), fraction, 0)


def test_classes_of_one_image_are_split_together() -> None:
    labels = np.concatenate([np.zeros(10, np.int64), np.arange(1, 101)])
    kept, held = stratified_split(labels, 0.4, 0)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(110))
    assert int((held < 10).sum()) == 4
    assert len(held) == 44


def test_one_image_cannot_be_split() -> None:
    with pytest.raises(InputError, match="at least two images to split, got 1"):
        stratified_split(np.array([3]), 0.5, 0)


@pytest.mark.parametrize("labels", [np.zeros(4), np.zeros((4, 1), np.int64)])
def test_labels_must_be_a_row_of_integers(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="one-dimensional integer"):
        stratified_split(labels, 0.5, 0)
