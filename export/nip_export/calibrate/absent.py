"""Classes without benign images, or with next to none: the others show what to expect of them when each is
left out in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nip_export.calibrate.scales import LEAST_DEVIATION, silent
from nip_export.defence import statistics
from nip_export.defence.decision import FirstLook
from nip_export.defence.spec import ClassScale

LEAST_CLASSES = 20
"""Predicted classes that can stand for those without images. How far a class lies from the others' centres
differs from class to class: two or nine say little about the next, and most of its images might be flagged.
"""

HIGH = 0.95
"""Quantile at which a class that is judged by the others is compared with classes that are judged by
themselves."""

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


def absent_scale(values: NDArray[np.float64], scale: ClassScale, predicted: NDArray[np.int64]) -> ClassScale:
    """What the second look must show of classes without images: more than of others, as far as these differ.

    How far answers move under a view differs from class to class. Every class that was seen is judged once by
    the statistics of the others, as one without images is: as many times as the worst of them then stands out
    more than classes by their own statistics, the spread is widened; and by 1 + 2/(K − 1) for the next class,
    of K, may be worse. Of a single class nothing follows, and nothing is said.

    Args:
        values: (N, C) shifts or (N, 1) changes of N benign inputs.
        scale: of these, one row for each class; one shared row stays as it is.
        predicted: (N,) int64, their classes.
    """
    classes, counts = np.unique(predicted, return_counts=True)
    if not scale.per_class or len(classes) >= LEAST_CLASSES:
        return scale
    factor = 0.0
    if len(classes) > 1:
        own = _high(statistics.standardise(values, scale, predicted), predicted)
        worst = own
        for label in classes[counts > 1]:
            rows = predicted == label
            deviation = np.maximum(values[~rows].std(0), LEAST_DEVIATION)
            judged = (values[rows] - values[~rows].mean(0)) / deviation
            worst = max(worst, _high(judged, predicted[rows]))
        factor = own / worst / (1 + 2 / (len(classes) - 1)) if own > 0 else 0.0
    return ClassScale(scale.mean, (scale.inverse_std * np.float32(factor)).astype(np.float32))


def _high(standard: NDArray[np.float64], predicted: NDArray[np.int64]) -> float:
    """A high quantile of the gate's statistic: the largest value of any class but the predicted one."""
    values = standard[:, 0] if standard.shape[1] == 1 else statistics.without(standard, predicted).max(1)
    return float(np.quantile(values, HIGH))


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
