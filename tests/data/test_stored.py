"""Images that are kept on disk behave as arrays do, and so do inputs that are made when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from nip_export.data import ImageSet, digest, stored
from nip_export.data.gathering import gather
from nip_export.data.inputs import LazyInputs, changed
from nip_export.data.stored import StoredImages, store
from nip_export.fit.benign import at_the_door
from nip_runtime.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
LABELS = np.arange(50) % 7


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "IN_MEMORY", 100)
    monkeypatch.setattr("nip_export.fit.benign.IN_MEMORY", 100)


def on_disk(images: NDArray[Any]) -> StoredImages:
    found = store(iter(images))
    assert isinstance(found, StoredImages)
    return found


@given(rows=st.lists(st.integers(-50, 49), max_size=60))
def test_any_rows_come_back_as_they_were_stored(rows: list[int]) -> None:
    chosen = np.array(rows, np.int64)
    assert np.array_equal(on_disk(IMAGES)[chosen], IMAGES[chosen])


def test_slices_masks_single_rows_and_rows_of_rows() -> None:
    images = on_disk(IMAGES)
    assert (images.shape, images.ndim, len(images)) == (IMAGES.shape, 4, 50) and images.dtype == np.uint8
    assert np.array_equal(images[3:40:2], IMAGES[3:40:2])
    assert np.array_equal(images[LABELS == 3], IMAGES[LABELS == 3])
    assert np.array_equal(images[7], IMAGES[7])
    assert np.array_equal(images.take(LABELS == 3)[np.array([1, 0])], IMAGES[LABELS == 3][[1, 0]])
    assert np.array_equal(np.asarray(images), IMAGES)


def test_few_images_stay_in_memory() -> None:
    assert isinstance(store(iter(IMAGES[:1])), np.ndarray)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> Any:
        return Path("/dev/full").open("wb", buffering=0)

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(InputError, match=r"room for all images in .*No space left.*TMPDIR"):
        store(iter(IMAGES))


def test_the_fingerprint_does_not_tell_where_images_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nip_export.data.images.CHUNK", 200)
    assert digest(on_disk(IMAGES), LABELS) == digest(IMAGES, LABELS)
    bad = IMAGES / np.float32(255)
    bad[49, 0, 0, 0] = 2
    with pytest.raises(InputError, match=r"values in \[0, 1\]"):
        ImageSet(on_disk(bad), LABELS)


def test_inputs_are_made_batch_by_batch() -> None:
    lazy = at_the_door(ImageSet(on_disk(IMAGES), LABELS))
    assert isinstance(lazy.feed, LazyInputs)
    floats = IMAGES.transpose(0, 3, 1, 2) / np.float32(255)
    assert lazy.feed.shape == floats.shape
    assert np.array_equal(lazy.feed[10:20], floats[10:20])
    mask = LABELS > 2
    assert np.array_equal(lazy.take(mask).inputs, floats[mask])
    numbers: list[int] = []

    def doubled(values: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        numbers.extend(rows.tolist())
        return 2 * values

    view = changed(lazy.feed, doubled, np.array([4, 9]))
    assert np.array_equal(view[1:], 2 * floats[[9]])
    assert numbers == [9]


@pytest.mark.parametrize("form", ["loader", "pairs", "images", "tensor"])
def test_iterables_and_loaders_give_the_same_images(form: str) -> None:
    given: Any
    labels: Any = None
    if form == "loader":
        data = TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
        given = DataLoader(data, batch_size=8)
    elif form == "pairs":
        given = ((image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True))
    elif form == "images":
        given, labels = iter(IMAGES), LABELS
    else:
        given, labels = torch.from_numpy(IMAGES), LABELS
    images, found = gather(given, labels)
    assert np.array_equal(np.asarray(images), IMAGES)
    assert np.array_equal(np.asarray(found), LABELS)


@pytest.mark.parametrize(
    ("given", "labels", "message"),
    [
        ("photos", None, "an iterable of them or a DataLoader, got str"),
        ([], None, "images, got none"),
        (
            [IMAGES[0], IMAGES[0, 1:]],
            None,
            r"images alike: uint8 \(4, 5, 3\).*got uint8 \(3, 5, 3\) as number 1",
        ),
        ([(IMAGES[0], 0)], [0], "1 labels with 1 images and others in `labels`"),
        ([(IMAGES[0], 0.5)], None, "one whole number as label of every image, got float64"),
    ],
    ids=["path", "none", "shapes", "twice", "floats"],
)
def test_what_is_no_set_of_images_is_refused(given: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gather(given, labels)
