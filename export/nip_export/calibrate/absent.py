"""Classes without benign images, or with next to none: the others show what to expect of them when each is
left out in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nip_export.calibrate.scales import LEAST_DEVIATION, silent
from nip_export.defence.decision import FirstLook
from nip_export.defence.spec import ClassScale

LEAST_CLASSES = 20
"""Predicted classes that can stand for those without images. How far a class lies from the others' centres
differs from class to class: two or nine say little about the next, and most of its images might be flagged.
"""

RARE_IMAGES, RARE_SHARE = 50, 0.4
"""A class with fewer profile images than the first, and than this share of what the average class has, is
judged as one without images. With statistics of their own, up to all benign images of such classes were
flagged (benchmarks/robustness/NOTES.md, 49): early read-outs hardly believe in what they hardly saw, and a
centre leans towards its own few images."""


def known_classes(labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """Which classes (C,) have profile images of their own to be judged by: some, and not next to none.

    Where every class has few, none stands out, and all are known.

    Args:
        labels: (N,) int64, of the rightly classified profile images, N ≥ 1.
        classes: C.
    """
    counts = np.bincount(labels, minlength=classes)
    present: NDArray[np.bool_] = counts > 0
    many: NDArray[np.bool_] = (counts >= RARE_IMAGES) | (counts >= RARE_SHARE * counts[present].mean())
    return present & many


def absent_typicality(look: FirstLook, present: NDArray[np.bool_]) -> ClassScale:
    """Benign distances of images whose predicted class has no centre, as one row for each class.

    For every image the centre of its own predicted class, if there is one, is left out: then it stands where
    an image of a class without images does. Pooled over all images, whatever their class.

    Args:
        look: pass 1 over N benign inputs.
        present: (C,) bool: the classes that centres were fitted to, in the order of the centres.

    Returns:
        Mean and spread (C, 1), the same for every class; silent if too few classes were seen to tell.
    """
    predicted, classes = look.predicted, len(present)
    if len(np.unique(predicted)) < LEAST_CLASSES or look.apart.shape[1] != present.sum():
        return silent(classes)
    centre = np.cumsum(present) - 1
    apart = look.apart.copy()
    own = np.flatnonzero(present[predicted])
    apart[own, centre[predicted[own]]] = np.inf
    nearest = apart.min(1)
    deviation = max(float(nearest.std()), LEAST_DEVIATION)
    return ClassScale(
        np.full((classes, 1), nearest.mean(), np.float32), np.full((classes, 1), 1 / deviation, np.float32)
    )
