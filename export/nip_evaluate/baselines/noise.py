"""The noise of the odds test, and how strong it may be: benign images alone decide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nip_evaluate.baselines.network import Forward
from nip_evaluate.terms.threats import Images, Labels

SIGMAS = tuple(level / 255 for level in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128))
"""Standard deviations of the noise to choose from, in input units."""
MOST_LOST = 0.01
"""Benign accuracy that the noise may cost."""


def noise_patterns(samples: int, shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """Standard normal patterns (samples, *shape) float32."""
    return np.random.default_rng(seed).standard_normal((samples, *shape), dtype=np.float32)


def choose_sigma(forward: Forward, images: Images, labels: Labels, seed: int) -> float:
    """The noise scale: the last of the grid before benign accuracy drops by more than one point.

    Args:
        forward: the network.
        images: (N, *shape) float32 benign images.
        labels: (N,) int64.
        seed: of the noise.
    """
    # Every image gets a pattern of its own here: one for all would make σ a matter of luck.
    pattern = noise_patterns(len(images), images.shape[1:], seed)
    clean = float((forward(images).argmax(1) == labels).mean())
    chosen = SIGMAS[0]
    for sigma in SIGMAS:
        noisy = forward(images + np.float32(sigma) * pattern).argmax(1) == labels
        if float(noisy.mean()) < clean - MOST_LOST:
            break
        chosen = sigma
    return chosen
