"""Predicts rows, block by block, and gathers the columns of a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.inputs.arrays import OnBadRow
from nip_runtime.operate.bulk.rows import Row, printable
from nip_runtime.result import Prediction, Reason
from nip_runtime.session import DefendedSession


class Answered:
    """Rows with their answers, in order.

    Attributes:
        flags: rows answered and held for attacked.
        errors: rows without an answer.
        first_error: of them, with its row; "" if there are none.
    """

    def __init__(self, class_names: tuple[str, ...] | None) -> None:
        self._names = class_names
        self._rows: list[tuple[Any, ...]] = []
        self._logits: list[NDArray[np.float32] | None] = []
        self.flags = 0
        self.errors = 0
        self.first_error = ""

    def __len__(self) -> int:
        return len(self._rows)

    def answer(self, row: Row, prediction: Prediction, index: int) -> None:
        """Add a row that the model answered."""
        label, flagged = int(prediction.labels[index]), bool(prediction.flagged[index])
        self._rows.append(
            (
                row.source,
                row.index,
                label,
                None if self._names is None else self._names[label],
                int(prediction.raw_labels[index]),
                float(prediction.suspicion[index]),
                flagged,
                int(prediction.candidate[index]),
                str(prediction.reason[index]),
                None,
            )
        )
        self._logits.append(prediction.logits[index])
        self.flags += flagged

    def refuse(self, row: Row, error: str) -> None:
        """Add a row without an answer. It counts as flagged, for code that looks at the flag alone."""
        self._rows.append(
            (row.source, row.index, None, None, None, None, True, None, str(Reason.REFUSED), error)
        )
        self._logits.append(None)
        self.errors += 1
        self.first_error = self.first_error or f"{row.source}[{row.index}]: {error}"

    def columns(self, *, logits: bool) -> list[list[Any]]:
        """The columns in the order of the schema."""
        columns: list[list[Any]] = [list(column) for column in zip(*self._rows, strict=True)]
        return [*columns, self._logits] if logits else columns


def answer_rows(session: DefendedSession, rows: Iterable[Row], *, block: int) -> Answered:
    """Answer every row, ``block`` at a time."""
    answered = Answered(session.manifest.output.class_names)
    iterator = iter(rows)
    while some := list(islice(iterator, block)):
        for alike in _alike(some):
            _answer(session, alike, answered)
    return answered


def _alike(rows: list[Row]) -> Iterator[list[Row]]:
    """Neighbours of one dtype and shape, or without an image."""
    for _, group in groupby(
        rows, lambda row: None if row.image is None else (row.image.dtype, row.image.shape)
    ):
        yield list(group)


def _answer(session: DefendedSession, rows: list[Row], answered: Answered) -> None:
    images = [row.image for row in rows if row.image is not None]
    if not images:
        for row in rows:
            answered.refuse(row, row.error)
        return
    prediction = session.predict(np.concatenate(images), on_bad_row=OnBadRow.SKIP)
    why = {refused.row: refused.why for refused in prediction.refused}
    for index, row in enumerate(rows):
        if index in why:
            answered.refuse(row, printable(why[index]))
        else:
            answered.answer(row, prediction, index)
