"""An item on its way through a stream, and how a group of them is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.result import Prediction

Item = TypeVar("Item")
Predict = Callable[[NDArray[Any]], Prediction]
"""Answers a stack of images (N, …), like ``DefendedSession.predict``; called from several threads at once."""


@dataclass(eq=False)
class Slot(Generic[Item]):
    """An item, its image once decoded, then its row of a prediction, or what went wrong."""

    index: int
    item: Item
    image: NDArray[Any] | None = None
    prediction: Prediction | None = None
    row: int = 0
    error: Exception | None = None
    decoded_at_s: float | None = None

    def decode(self, decode: Callable[[Item], object] | None) -> None:
        """Turn the item into an image, or note why that failed."""
        try:
            image = self.item if decode is None else decode(self.item)
            kind = type(image)  # never isinstance(): an object may say of itself what it likes
            if not issubclass(kind, np.ndarray) or issubclass(kind, np.ma.MaskedArray):
                raise InputError.mismatch(
                    expected="one image as a plain numpy array from every item",
                    got=kind.__name__,
                    fix="pass decode=, a function that turns an item into one",
                )
            self.image = np.asarray(image)  # a subclass may compare and stack as it likes
        except Exception as error:
            self.error = error

    def mark_decoded(self) -> None:
        """Say that :meth:`decode` is done; others may look at the slot from now on."""
        self.decoded_at_s = time.monotonic()

    def stacks_with(self, others: Sequence[Slot[Item]]) -> bool:
        """Whether its image has the dtype and shape of the others'; failed ones stack with anything."""
        first = next((slot.image for slot in others if slot.image is not None), None)
        if first is None or self.image is None:
            return True
        return first.dtype == self.image.dtype and first.shape == self.image.shape


def answer(slots: Sequence[Slot[Any]], predict: Predict) -> None:
    """Give every slot that has an image its row, or its own error.

    A batch that fails is run again row by row, for one bad image must not cost its neighbours their answers.
    A row that the prediction refuses is an error of its item alone.
    """
    good = [slot for slot in slots if slot.image is not None]
    if not good:
        return
    try:
        _answer_together(good, predict)
    except Exception as error:
        if len(good) == 1:
            good[0].error = error
        else:
            for slot in good:
                answer([slot], predict)
    for slot in good:
        slot.image = None


def _answer_together(slots: Sequence[Slot[Any]], predict: Predict) -> None:
    images = [slot.image for slot in slots if slot.image is not None]
    prediction = predict(images[0][None] if len(images) == 1 else np.stack(images))
    if len(prediction) != len(slots):
        raise ValueError(f"predict: expected one row per image ({len(slots)}), got {len(prediction)}")
    for row, slot in enumerate(slots):
        slot.prediction, slot.row = prediction, row
    for refused in prediction.refused:
        slots[refused.row].error = InputError(refused.why)
