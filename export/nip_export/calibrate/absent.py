"""Classes without benign images, or with next to none: the others show what to expect of them when each is
left out in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nip_export.calibrate.scales import LEAST_DEVIATION, PSEUDO_ROWS, silent
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

LEAST_ROWS = 10
"""Rows by which a class is judged in the place of its own."""

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


def absent_scale(
    values: NDArray[np.float64],
    scale: ClassScale,
    predicted: NDArray[np.int64],
    present: NDArray[np.bool_],
) -> ClassScale:
    """What the second look must show of classes without images: more than of others, as far as these differ.

    How far answers move under a view differs from class to class. Every class that was seen is judged once by
    the statistics of the others, as one without images is: as many times as the worst of them then stands out
    more than classes by their own statistics, the spread is widened; and by 1 + 2/(K − 1) for the next class,
    of K, may be worse. Of a single class nothing follows, and nothing is said. Classes that have some images,
    though too few to count, need less of that: their own rows are part of their statistics.

    Args:
        values: (N, C) shifts or (N, 1) changes of N benign inputs.
        scale: of these, one row for each class; one shared row stays as it is.
        predicted: (N,) int64, their classes.
        present: (C,) bool: classes with images of their own to be judged by.
    """
    counts = np.bincount(predicted, minlength=len(present))
    seen = np.flatnonzero(present & (counts > 1))
    if not scale.per_class or len(seen) >= LEAST_CLASSES:
        return scale
    share = 0.0
    if len(seen) > 1:
        known = np.isin(predicted, seen)
        values, predicted = values[known], predicted[known]
        own = _high(statistics.standardise(values, scale, predicted), predicted)
        worst = max(_high(_by_others(values, predicted, label), predicted) for label in seen.tolist())
        share = min(own / worst, 1.0) / (1 + 2 / (len(seen) - 1))
    factor = 1 - (1 - share) * PSEUDO_ROWS / (PSEUDO_ROWS + counts)
    return ClassScale(scale.mean, (scale.inverse_std * factor[:, None]).astype(np.float32))


def _by_others(values: NDArray[np.float64], predicted: NDArray[np.int64], label: int) -> NDArray[np.float64]:
    """Rows of one class standardised by those of the others; NaN elsewhere, and where too few others tell.

    A row's shift in the column of its own class is 0 by definition, and no measurement.
    """
    standard = np.full_like(values, np.nan)
    rows = predicted == label
    for column in range(values.shape[1]):
        others = ~rows if values.shape[1] == 1 else ~rows & (predicted != column)
        if others.sum() >= LEAST_ROWS:
            deviation = max(float(values[others, column].std()), LEAST_DEVIATION)
            standard[rows, column] = (values[rows, column] - values[others, column].mean()) / deviation
    return standard


def _high(standard: NDArray[np.float64], predicted: NDArray[np.int64]) -> float:
    """A high quantile of the gate's statistic, the largest value of any class but the predicted one; at least
    one deviation, for where hardly any row moves it says nothing."""
    told = np.where(np.isnan(standard), -np.inf, standard)
    if told.shape[1] > 1:
        told = statistics.without(told, predicted)
    largest = told.max(1)
    largest = largest[np.isfinite(largest)]
    return max(float(np.quantile(largest, HIGH)), 1.0) if len(largest) else 1.0


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
