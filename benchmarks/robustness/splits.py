"""Fashion-MNIST split four ways: training, profile, calibration and a test set that nobody looked at.

The 5,000 training images that no network sees provide profile and calibration. The test images come from
the official test split *without* the 500 that the demo shows, for those have been looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nip_export.demo.build_assets import DATA_DIR, TRAINING_IMAGES, Labelled, read_idx, sample_per_class
from nip_export.demo.example import load_example

PROFILE_PER_CLASS = 200
TEST_PER_CLASS, FURTHER_PER_CLASS = 100, 300
SPLIT_SEED = 0
"""The demo's own seed: its network and these were trained on the same 55,000 images."""


@dataclass(frozen=True)
class Splits:
    """Disjoint images, uint8 (N, 28, 28): `test` is attacked, `further` only tells the benign cost."""

    training: Labelled
    profile: Labelled
    calibration: Labelled
    test: Labelled
    further: Labelled


def load_splits(folder: Path = DATA_DIR) -> Splits:
    """Read the four idx files; FileNotFoundError says how to get them."""
    full, official = read_idx(folder, "train"), read_idx(folder, "t10k")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(full.labels))
    training, held_out = full.take(order[:TRAINING_IMAGES]), full.take(order[TRAINING_IMAGES:])
    rng = np.random.default_rng(SPLIT_SEED + 1)
    profile = sample_per_class(held_out.labels, PROFILE_PER_CLASS, rng)
    rest = np.setdiff1d(np.arange(len(held_out.labels)), profile)
    shown = {image.tobytes() for image in load_example().test.images}
    fresh = official.take(
        np.flatnonzero([image.tobytes() not in shown for image in official.images]).astype(np.int64)
    )
    test = sample_per_class(fresh.labels, TEST_PER_CLASS, rng)
    others = fresh.take(np.setdiff1d(np.arange(len(fresh.labels)), test))
    return Splits(
        training=training,
        profile=held_out.take(profile),
        calibration=held_out.take(rest),
        test=fresh.take(test),
        further=others.take(sample_per_class(others.labels, FURTHER_PER_CLASS, rng)),
    )
