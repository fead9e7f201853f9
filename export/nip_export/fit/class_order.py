"""Whether images are numbered in another order than the model's logits, as sorted folders often are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nip_export.support.classes import named_classes
from nip_runtime.file.rates import Rate

_LISTED: Final = 3


def other_order(
    profile: tuple[NDArray[np.int64], NDArray[np.int64]],
    calibration: tuple[NDArray[np.int64], NDArray[np.int64]],
    names: Sequence[str] | None,
) -> str | None:
    """In which other order of the classes the model would be right far more often; None if in none.

    The order is found on the profile images and tried on the calibration images, so that it gains nothing by
    chance: a model that is merely weak agrees best with the order that is stated. An untrained one may well
    agree better with another, for even random features tell some classes apart.

    Args:
        profile: labels and predictions (N,), classes from 0.
        calibration: labels and predictions (M,).
        names: of the classes, as the labels number them; None if unknown.

    Returns:
        Half a sentence, such as "52.0% [46.3%, 57.6%] (156/300) if cat (0) is logit 1, dog (1) is logit 0".
    """
    order = order_of(*profile)
    labels, predicted = calibration
    stated = Rate(int((predicted == labels).sum()), len(labels))
    meant = np.array([order.get(label, -1) for label in labels.tolist()])
    found = Rate(int((predicted == meant).sum()), len(labels))
    if found.interval[0] <= stated.interval[1]:
        return None
    elsewhere = [(label, logit) for label, logit in sorted(order.items()) if label != logit]
    told = ", ".join(
        f"{named_classes([label], names)} is logit {logit}" for label, logit in elsewhere[:_LISTED]
    )
    more = f" and {len(elsewhere) - _LISTED} others move" if len(elsewhere) > _LISTED else ""
    return f"{found} if {told}{more}"


def order_of(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[int, int]:
    """For every label the logit that answers it, each logit once: the pairs that occur most often first.

    Only logits of classes that have images: a network that calls laptops notebooks, of which there is no
    image, mistakes one for the other, and nothing says that the classes are numbered otherwise.
    """
    of_images = np.isin(predicted, labels)
    answers = np.stack([labels[of_images], predicted[of_images]], 1)
    pairs, counts = np.unique(answers, axis=0, return_counts=True)
    # Of pairs as frequent, the one that agrees.
    by_count = np.lexsort((pairs[:, 0] != pairs[:, 1], -counts))
    order: dict[int, int] = {}
    taken: set[int] = set()
    for label, logit in pairs[by_count].tolist():
        if label not in order and logit not in taken:
            order[label] = logit
            taken.add(logit)
    return order
