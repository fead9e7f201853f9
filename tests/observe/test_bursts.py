"""The watch for near-duplicates: an oracle by definition, streams benign and not, bounds on what it keeps."""

from __future__ import annotations

import logging
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.demo.example import load_example
from nip_runtime.errors import InputError
from nip_runtime.observe import BurstWatch
from nip_runtime.observe.fingerprint import digests, fingerprints

ROOT = Path(__file__).parents[2]


def variants(rows: int, *, seed: int = 0, noise: float = 0.01) -> NDArray[np.float32]:
    """One image, a little changed every time."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 1, (1, 3, 16, 16))
    return np.clip(image + rng.normal(0, noise, (rows, 3, 16, 16)), 0, 1).astype(np.float32)


def unlike(rows: int, *, seed: int = 1) -> NDArray[np.uint8]:
    """Images that have nothing to do with each other: 8 x 8 blocks of random grey."""
    blocks = np.random.default_rng(seed).integers(0, 256, (rows, 8, 8), np.uint8)
    return blocks.repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (9, 13)])
def test_a_fingerprint_is_the_mean_grey_of_64_blocks(shape: tuple[int, int]) -> None:
    height, width = shape
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, height, width)).astype(np.float32)
    found = fingerprints(images, bounds=(-1.0, 1.0))
    rows, columns = (np.linspace(0, side, 9).astype(int) for side in shape)
    for image, got in zip(images, found, strict=True):
        for place in range(64):
            i, j = divmod(place, 8)
            block = image[:, rows[i] : rows[i + 1], columns[j] : columns[j + 1]].astype(np.float64)
            assert abs((block.mean() + 1) * 127.5 - got[place]) <= 0.51


def test_pixels_and_floats_of_one_image_have_one_fingerprint() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 3), np.uint8)
    floats = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    apart = fingerprints(pixels).astype(int) - fingerprints(floats)
    assert abs(apart).max() <= 1  # where rounding falls on the other side


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 6), st.integers(1, 5))
def test_rows_are_counted_as_the_definition_says(places: list[int], window: int, recent: int) -> None:
    """Ten images; neighbours by number are near-duplicates, the same number is the same image."""
    images = np.stack([np.full((8, 8), 100 + 5 * number, np.uint8) for number in range(10)])
    stream = images[places] if places else np.zeros((0, 8, 8), np.uint8)
    watch = BurstWatch(window=window, recent=recent, near_rows=recent, distance=5.5 / 255)
    bursts = [burst.row for burst in watch.see(stream)]
    kept: list[int] = []
    near: list[bool] = []
    repeated, wanted, in_burst = 0, [], False
    for place in places:
        if place in kept[-window:]:
            repeated += 1
            continue
        near.append(any(abs(place - other) == 1 for other in kept[-window:]))
        kept.append(place)
        count = sum(near[-recent:])
        if count >= recent and not in_burst:
            in_burst = True
            wanted.append(len(kept))
        elif 2 * count < recent:
            in_burst = False
    state = watch.state()
    assert bursts == wanted
    assert (state.rows, state.repeated, state.near) == (len(kept), repeated, sum(near))
    assert state.bursts == len(wanted) and (state.last is None) == (not wanted)


def test_variants_of_one_image_are_noticed_at_the_sixteenth(caplog: pytest.LogCaptureFixture) -> None:
    watch = BurstWatch()
    with caplog.at_level(logging.WARNING):
        (burst,) = watch.see(variants(400), client="someone")
    assert (burst.client, burst.row, burst.near, burst.recent) == ("someone", 17, 16, 64)
    assert [record.levelname for record in caplog.records] == ["WARNING"], "a burst that lasts is told once"
    assert "client 'someone' asks about near-duplicates: 16 of the last 64 rows" in caplog.text


def test_an_attack_on_many_images_at_once_is_noticed_too() -> None:
    watch = BurstWatch()
    mixed = np.stack([variants(40, seed=seed) for seed in range(40)], axis=1).reshape(-1, 3, 16, 16)
    assert watch.see(mixed)


def test_clients_are_watched_apart() -> None:
    watch, rows = BurstWatch(), variants(30)
    assert [watch.see(row[None], client=str(number % 3)) for number, row in enumerate(rows)] == [()] * 30
    assert watch.state().clients == 3
    assert watch.see(variants(30, seed=5), client=None)


def test_a_burst_that_ended_may_come_again() -> None:
    watch = BurstWatch()
    assert len(watch.see(variants(40))) == 1
    assert watch.see(unlike(300)) == ()
    assert len(watch.see(variants(40, seed=3))) == 1
    assert watch.state().bursts == 2


def test_the_same_image_again_is_no_near_duplicate() -> None:
    watch = BurstWatch()
    assert watch.see(np.repeat(variants(1), 200, axis=0)) == ()
    assert (watch.state().rows, watch.state().repeated) == (1, 199)


def test_ordinary_images_raise_nothing_in_any_order() -> None:
    images = load_example().test.images
    watch, rng = BurstWatch(clients=30), np.random.default_rng(0)
    for client in range(20):
        watch.see(images[rng.permutation(len(images))], client=str(client))
    labels = load_example().test.labels
    for label in range(10):
        watch.see(images[labels == label], client=f"class {label}")
    state = watch.state()
    assert state.bursts == 0 and state.near < 0.01 * state.rows


def test_who_was_silent_longest_is_forgotten() -> None:
    watch = BurstWatch(clients=2)
    first = variants(15)
    watch.see(first, client="a")
    watch.see(unlike(2), client="b")
    watch.see(unlike(2), client="a")
    watch.see(unlike(2), client="c")  # b goes
    assert watch.state().clients == 2
    assert watch.see(variants(30)[15:], client="a"), "still remembered"
    watch.see(unlike(2), client="b")
    watch.see(unlike(2), client="c")
    assert watch.see(variants(32)[15:30], client="a") == (), "forgotten meanwhile"


def test_threads_lose_no_row() -> None:
    watch = BurstWatch()

    def see(seed: int) -> None:
        for row in unlike(50, seed=seed):
            watch.see(row[None], client=str(seed % 2))

    threads = [threading.Thread(target=see, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.state().rows == 200


def test_pickled_it_starts_anew_with_its_settings() -> None:
    watch = BurstWatch(window=9, distance=0.1, recent=8, near_rows=4, clients=3, bounds=(-1.0, 1.0))
    watch.see(variants(3))
    again = pickle.loads(pickle.dumps(watch))
    assert again.state().rows == 0 and again.__reduce__() == watch.__reduce__()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"window": 0}, "window of at least 1"),
        ({"near_rows": 65}, "near_rows from 1 to 64"),
        ({"distance": 0.0}, "distance between 0 and 1"),
        ({"clients": True}, "clients of at least 1"),
        ({"bounds": (1.0, 1.0)}, "bounds"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        BurstWatch(**settings)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, 1, 4000), np.float32),
        np.zeros((3, 7, 7), np.uint8),
        np.zeros((3, 28, 28), np.float32),
        np.zeros((3, 1, 28, 28)),
        "image.png",
    ],
)
def test_what_is_no_image_is_refused(images: object) -> None:
    watch = BurstWatch()
    with pytest.raises(InputError, match="expected images"):
        watch.see(images)
    assert watch.state().clients == 0


def test_digests_tell_images_apart_bit_for_bit() -> None:
    images = variants(3)
    images[2] = images[0]
    first, second, third = digests(images)
    assert first == third != second


def test_the_example_on_the_page_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (example,) = (text for text in examples if "BurstWatch" in text)
    golden = ROOT / "tests" / "goldens" / "guarded.onnx"
    (tmp_path / "model.nip.onnx").write_bytes(golden.read_bytes())
    asked = variants(30)[:, :1].repeat(2, axis=2).repeat(2, axis=3)[..., :28, :28]
    np.save(tmp_path / "asked.npy", asked)
    code = f"import numpy\nimages = numpy.load('asked.npy')\n{example}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "alice" in done.stdout and "near-duplicates: 16" in done.stdout
