"""Splits that keep every class's share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nip_runtime.errors import InputError


def stratified_split(
    labels: npt.NDArray[np.integer], fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split rows in two, class by class; `fraction` of every class goes into the second part.

    Args:
        labels: (N,) integer classes.
        fraction: share of the second part, strictly between 0 and 1. Each class is rounded to the nearest
            whole image, but keeps at least one image in each part; classes of one image are split together.
        seed: decides which images go where; the same seed gives the same split.

    Returns:
        Two sorted int64 row indices, disjoint, which together are ``0 … N-1``.

    Raises:
        InputError: `fraction` is out of bounds, `labels` is not a one-dimensional integer array, or there are
            fewer than two images.
    """
    if not 0 < fraction < 1:
        raise InputError.mismatch(
            expected="a split fraction strictly between 0 and 1",
            got=f"{fraction}",
            fix="name the share of images that is held out, for example 0.3",
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError.mismatch(
            expected="labels as a one-dimensional integer array (N,)",
            got=f"shape {labels.shape} of {labels.dtype}",
            fix="pass one class number per image",
        )
    if len(labels) < 2:
        raise InputError.mismatch(
            expected="at least two images to split", got=f"{len(labels)}", fix="give more images"
        )
    classes, counts = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for label, count in zip(classes[counts > 1], counts[counts > 1], strict=True):
        size = int(np.clip(round(count * fraction), 1, count - 1))
        held[rng.permutation(np.flatnonzero(labels == label))[:size]] = True
    # Classes of one image cannot be in both parts: these images are shared out without regard to their class.
    single = rng.permutation(np.flatnonzero(np.isin(labels, classes[counts == 1])))
    held[single[: round(len(single) * fraction)]] = True
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)
