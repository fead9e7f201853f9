"""What a prediction holds: the defended answer, the raw one, and why they differ."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.manifest import Policy


class Reason(StrEnum):
    """Why a row has the label it has."""

    PASSED = "passed"
    """The gate let it pass: the label is the model's own."""
    CORRECTED = "corrected"
    """The defence changed the label."""
    CONFIRMED = "confirmed"
    """The defence looked at it (flagged, or policy always) and kept the label."""
    DETECTED = "detected"
    """Policy detect: flagged, and left as it is."""
    REFUSED = "refused"
    """There is no label: see ``Prediction.refused``."""


@dataclass(frozen=True)
class RefusedRow:
    """A row without an answer.

    Attributes:
        row: its place among the N, from 0.
        why: in the words of the error that it would be on its own.
    """

    row: int
    why: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Answers for N inputs and C classes, row by row.

    A refused row keeps its place: labels and candidate −1, logits and suspicion NaN, flagged True, so that
    code that looks at the flag alone does not trust it.

    Attributes:
        labels: (N,) int64, argmax of ``logits``.
        logits: (N, C) float32, defended.
        raw_labels: (N,) int64, argmax of ``raw_logits``.
        raw_logits: (N, C) float32, what the undefended model says.
        suspicion: (N,) float32 in [0, 1], share of benign calibration images that are less suspicious.
        flagged: (N,) bool, the gate takes the row for attacked.
        candidate: (N,) int64, the likeliest class besides the predicted one, which a correction answers;
            under policy ``always`` that of the early read-outs.
        reason: N reasons.
        refused: rows without an answer, ascending; empty unless ``on_bad_row="skip"`` was asked for.
    """

    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    raw_labels: NDArray[np.int64]
    raw_logits: NDArray[np.float32]
    suspicion: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    candidate: NDArray[np.int64]
    reason: tuple[Reason, ...]
    refused: tuple[RefusedRow, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.labels)
        # No loop over names unless one is wrong: every request of one row pays for this.
        others = len(self.logits), len(self.raw_labels), len(self.raw_logits), len(self.suspicion)
        if (*others, len(self.flagged), len(self.candidate), len(self.reason)) != (rows,) * 7:
            wrong = next(name for name in _COLUMNS if len(getattr(self, name)) != rows)
            raise ValueError(f"{wrong}: expected {rows} rows, got another number")
        if self.refused:
            places = [refused.row for refused in self.refused]
            if places != sorted(set(places)) or not 0 <= places[0] <= places[-1] < rows:
                raise ValueError(f"refused: expected rows from 0 to {rows - 1}, ascending, got {places[:9]}")

    def __len__(self) -> int:
        return len(self.labels)


_COLUMNS: Final = tuple(field.name for field in fields(Prediction) if field.name != "refused")


def explain(
    policy: Policy,
    labels: NDArray[np.int64],
    raw_labels: NDArray[np.int64],
    flagged: NDArray[np.bool_],
) -> tuple[Reason, ...]:
    """Give the reason of every row."""
    # Lists, for all of this is paid by every request of one row.
    before, after, flags = raw_labels.tolist(), labels.tolist(), flagged.tolist()
    if policy is not Policy.ALWAYS and before == after and True not in flags:
        return (Reason.PASSED,) * len(flags)
    changed = [one != other for one, other in zip(before, after, strict=True)]
    if policy is Policy.ALWAYS:
        return tuple([Reason.CORRECTED if is_changed else Reason.CONFIRMED for is_changed in changed])
    kept = Reason.DETECTED if policy is Policy.DETECT else Reason.CONFIRMED
    return tuple(
        [
            Reason.CORRECTED if is_changed else kept if is_flagged else Reason.PASSED
            for is_changed, is_flagged in zip(changed, flags, strict=True)
        ]
    )
