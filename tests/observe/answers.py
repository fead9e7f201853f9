"""Answers made by hand, one row per reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nip_runtime.result import Prediction, Reason, RefusedRow


def answer(reasons: Sequence[Reason], *, flagged: Sequence[bool] | None = None) -> Prediction:
    """Rows of two classes with these reasons; corrected and confirmed ones are flagged unless told."""
    refused = np.array([reason is Reason.REFUSED for reason in reasons], dtype=bool)
    corrected = np.array([reason is Reason.CORRECTED for reason in reasons], dtype=bool)
    raw = np.arange(len(reasons)) % 2
    labels = np.where(corrected, 1 - raw, raw)
    flags = [reason is not Reason.PASSED for reason in reasons] if flagged is None else flagged
    suspicion = np.linspace(0.5, 0.999, max(len(reasons), 1), dtype=np.float32)[: len(reasons)]

    def logits(
        classes: np.ndarray[tuple[int], np.dtype[np.int64]],
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        rows = np.eye(2, dtype=np.float32)[classes]
        rows[refused] = np.nan
        return rows

    return Prediction(
        labels=np.where(refused, -1, labels),
        logits=logits(labels),
        raw_labels=np.where(refused, -1, raw),
        raw_logits=logits(raw),
        suspicion=np.where(refused, np.float32(np.nan), suspicion),
        flagged=np.array(flags, dtype=bool),
        candidate=np.where(refused, -1, labels),
        reason=tuple(reasons),
        refused=tuple(RefusedRow(int(row), "NaN") for row in np.flatnonzero(refused)),
    )


def flags(*flagged: bool) -> Prediction:
    """Rows of policy detect."""
    return answer([Reason.DETECTED if each else Reason.PASSED for each in flagged])
