"""Benign images of another origin, and the table of what a file makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.robustness.otherwise import ORIGINS, lines, stored_again
from nip_export.calibrate.stored import stored_as
from nip_runtime.file.manifest import ViewStep
from tests.photographs import photograph


def images() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """24 cuttings of a scene, stored as JPEG of quality 75 each."""
    scene, random = photograph(160, 200), np.random.default_rng(0)
    places = random.integers(0, 128, (24, 2))
    cut = np.stack([scene[row : row + 32, column : column + 32] for row, column in places])
    return stored_again(np.ascontiguousarray(cut), 75)


@pytest.mark.parametrize("origin", ORIGINS)
def test_every_origin_gives_other_images_and_only_the_first_lies_on_the_lattice(origin: str) -> None:
    given = images()
    made = ORIGINS[origin](given)
    assert made.dtype == np.float32 and made.shape == (24, 3, 32, 32)
    assert made.min() >= 0 and made.max() <= 1
    kept = np.array_equal(np.rint(made * 255).transpose(0, 2, 3, 1), given)
    assert kept == (origin == next(iter(ORIGINS)))
    found = stored_as(made, (0.0, 1.0))
    assert (found is ViewStep.JPEG_75) >= kept
    if origin in ("moved by 1 and 3 pixels", "cropped and resized", "noise of 4/255"):
        assert found is None


def test_the_table_shows_rates_with_intervals() -> None:
    rates = {
        "before": {"count": 90, "n": 100},
        "after": {"count": 88, "n": 100},
        "flagged": {"count": 0, "n": 90},
    }
    made = "\n".join(lines({"net": {"as it was": rates}}))
    assert "| net | as it was | 90.0 (82.6–94.5) | 88.0 (80.2–93.0) | 0.0 (0.0–4.1) |" in made
