"""What a prediction holds: the defended answer, the raw one, and why they differ."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.manifest import Policy


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Answers for N inputs and C classes, row by row.

    Attributes:
        labels: (N,) int64, argmax of ``logits``.
        logits: (N, C) float32, defended.
        raw_labels: (N,) int64, argmax of ``raw_logits``.
        raw_logits: (N, C) float32, what the undefended model says.
        suspicion: (N,) float32 in [0, 1], share of benign calibration images that are less suspicious.
        flagged: (N,) bool, the gate holds the row for attacked.
        candidate: (N,) int64, class hypothesis of the early read-outs.
        reason: N reasons.
    """

    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    raw_labels: NDArray[np.int64]
    raw_logits: NDArray[np.float32]
    suspicion: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    candidate: NDArray[np.int64]
    reason: tuple[Reason, ...]

    def __post_init__(self) -> None:
        rows = len(self.labels)
        for name in _FIELDS:
            if len(getattr(self, name)) != rows:
                raise ValueError(f"{name}: expected {rows} rows, got another number")

    def __len__(self) -> int:
        return len(self.labels)


_FIELDS: Final = tuple(field.name for field in fields(Prediction))


def explain(
    policy: Policy,
    labels: NDArray[np.int64],
    raw_labels: NDArray[np.int64],
    flagged: NDArray[np.bool_],
) -> tuple[Reason, ...]:
    """Give the reason of every row."""
    # Lists, for all of this is paid by every request of one row.
    changed = (labels != raw_labels).tolist()
    if policy is Policy.ALWAYS:
        return tuple([Reason.CORRECTED if is_changed else Reason.CONFIRMED for is_changed in changed])
    kept = Reason.DETECTED if policy is Policy.DETECT else Reason.CONFIRMED
    return tuple(
        [
            Reason.CORRECTED if is_changed else kept if is_flagged else Reason.PASSED
            for is_changed, is_flagged in zip(changed, flagged.tolist(), strict=True)
        ]
    )
