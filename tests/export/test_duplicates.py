"""Images that stand twice in one set are not held out and fitted to at the same time."""

from __future__ import annotations

import numpy as np
import pytest

from nip_export import ExportConfig
from nip_export.data import stored
from nip_export.data.images import shared
from nip_export.fit.benign import prepare
from tests.export.drawn import Drawn, blobs


@pytest.fixture(scope="module")
def doubled() -> Drawn:
    """400 images, of which the first 100 stand there twice."""
    own = blobs(300, seed=3)
    return own.take(np.concatenate([np.arange(300), np.arange(100)]))


@pytest.mark.parametrize("most_bytes", [stored.IN_MEMORY, 0], ids=["in memory", "on disk"])
def test_which_images_are_among_others(
    doubled: Drawn, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "IN_MEMORY", most_bytes)
    first, second, others, cut = (
        stored.store(images)
        for images in (
            doubled.images[:150],
            doubled.images[250:],
            doubled.images[200:300],
            doubled.images[:, :5],
        )
    )
    assert isinstance(first, stored.StoredImages) == (most_bytes == 0)
    assert np.flatnonzero(shared(first, second)).tolist() == list(range(50, 150))
    assert not shared(first, others).any()
    assert not shared(first, cut).any()


def test_duplicates_are_left_out_of_the_images_held_out(
    doubled: Drawn, caplog: pytest.LogCaptureFixture
) -> None:
    profile, held_out = prepare(doubled.images, doubled.labels, None, ExportConfig())
    assert not shared(profile.source.kept, held_out.source.kept).any()
    left_out = 400 - len(profile.labels) - len(held_out.labels)
    assert 20 < left_out < 80  # a pair is parted about every second time
    assert f"left out {left_out} of " in caplog.text
    assert len(held_out.feed) == len(held_out.labels)
    forced = prepare(doubled.images, doubled.labels, None, ExportConfig(force=True))
    assert sum(len(each.labels) for each in forced) == 400


def test_a_set_without_any_is_split_as_it_was() -> None:
    own = blobs(300, seed=3)
    for first, second in zip(
        prepare(own.images, own.labels, None, ExportConfig()),
        prepare(own.images, own.labels, None, ExportConfig(force=True)),
        strict=True,
    ):
        assert np.array_equal(first.source.kept, second.source.kept)
