"""Hands every flagged row on: to a function of yours, or as lines of a file."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from nip_runtime.errors import InputError
from nip_runtime.observe.forks import restart_in_children
from nip_runtime.result import Prediction, Reason


@dataclass(frozen=True, kw_only=True)
class FlaggedRow:
    """One row that the gate held for attacked, or that was refused. Holds nothing of the input itself.

    Attributes:
        time: of the answer, in UTC.
        row: place in its call, from 0.
        index: number of rows that this audit saw before it, in any call.
        suspicion: in [0, 1]; NaN of a refused row.
        reason: what became of it.
        label: the answer; −1 of a refused row, as below.
        raw_label: the undefended model's.
        candidate: the early read-outs'.
        why: of a refused row, what is wrong with it; else "".
    """

    time: datetime
    row: int
    index: int
    suspicion: float
    reason: Reason
    label: int
    raw_label: int
    candidate: int
    why: str = ""


class RowCounter:
    """Numbers the rows of all calls; several threads may share it."""

    def __init__(self) -> None:
        self.restart()
        restart_in_children(self)

    def restart(self) -> None:
        """Count from 0."""
        self._lock = threading.Lock()
        self._rows = 0

    def take(self, rows: int) -> int:
        """Count so many rows; returns the number of those before."""
        with self._lock:
            before = self._rows
            self._rows += rows
        return before


def flagged_rows(prediction: Prediction, *, before: int) -> Iterator[FlaggedRow]:
    """The flagged rows of an answer, refused ones too, in order.

    Args:
        prediction: the answer.
        before: rows seen before it.
    """
    positions: list[int] = np.flatnonzero(prediction.flagged).tolist()
    if not positions:
        return
    time = datetime.now(UTC)
    why = {refused.row: refused.why for refused in prediction.refused}
    for row in positions:
        yield FlaggedRow(
            time=time,
            row=row,
            index=before + row,
            suspicion=float(prediction.suspicion[row]),
            reason=prediction.reason[row],
            label=int(prediction.labels[row]),
            raw_label=int(prediction.raw_labels[row]),
            candidate=int(prediction.candidate[row]),
            why=why.get(row, ""),
        )


class Audit:
    """An observer that hands each flagged row to a function.

    The function runs in the thread that predicts, while the caller waits: it should be quick, and bear
    several threads. If it fails on a row, the other rows of the answer still reach it. Pickled, it takes the
    function along, which must pickle then, and numbers rows from 0; so it does in a forked child.

    Args:
        receive: called with every flagged row.

    Raises:
        InputError: if it can't be called.
    """

    def __init__(self, receive: Callable[[FlaggedRow], object]) -> None:
        if not callable(receive):
            raise InputError.mismatch(
                expected="a function of one flagged row",
                got=repr(receive),
                fix="pass one, or use AuditFile for a file",
            )
        self._receive = receive
        self._rows = RowCounter()

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        """Hand over the flagged rows.

        Raises:
            Exception: the first that the function raised, after it had every row.
        """
        first: Exception | None = None
        for row in flagged_rows(prediction, before=self._rows.take(len(prediction))):
            try:
                self._receive(row)
            except Exception as error:
                first = first or error
        if first is not None:
            raise first

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._receive,)


def described(row: FlaggedRow, class_names: tuple[str, ...] | None) -> dict[str, Any]:
    """A row as the object that a line of an audit file holds; names as in ``nip predict --json``."""

    def name(label: int) -> str | None:
        known = class_names is not None and 0 <= label < len(class_names)
        return class_names[label] if class_names is not None and known else None

    values: dict[str, Any] = {
        "time": row.time.isoformat(timespec="milliseconds"),
        "row": row.row,
        "index": row.index,
        "suspicion": None if math.isnan(row.suspicion) else row.suspicion,
        "reason": row.reason.value,
    }
    labels = (("label", row.label), ("raw_label", row.raw_label), ("candidate", row.candidate))
    for key, label in labels:
        values |= {key: label, f"{key}_name": name(label)}
    return values | ({"why": row.why} if row.why else {})
