"""What a defence answers, whatever it is: the exported file, a variant of it, or somebody else's idea."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nip_evaluate.terms.threats import Images, Labels
from nip_export.network import evaluation_mode
from nip_export.verify import DefendedTwin


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to N images.

    Attributes:
        labels: (N,) int64, the defence's.
        raw_labels: (N,) int64, the undefended network's in the same runtime.
        flagged: (N,) bool: held for attacked; None for a defence that changes every input and flags none.
        suspicion: (N,) float32, rising with the evidence for an attack; None if there is no such score.
    """

    labels: Labels
    raw_labels: Labels
    flagged: NDArray[np.bool_] | None
    suspicion: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: slice | NDArray[np.bool_] | NDArray[np.integer]) -> Answers:
        """The answers to some of the images: a slice, a mask (N,), or row numbers."""
        return Answers(
            labels=self.labels[rows],
            raw_labels=self.raw_labels[rows],
            flagged=None if self.flagged is None else self.flagged[rows],
            suspicion=None if self.suspicion is None else self.suspicion[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Defence:
    """A defence under comparison.

    Attributes:
        name: as tables print it.
        description: settings and source, one sentence.
        passes: network passes per flagged image, or per image if it has no flags.
        answer: maps images (N, *shape) float32 in [0, 1] to answers; rows are independent.
    """

    name: str
    description: str
    passes: float
    answer: Callable[[Images], Answers]


@dataclass(frozen=True, eq=False)
class GateView:
    """What a gated defence would answer to N images at *every* threshold.

    Attributes:
        score: (N,) float64, the gate's combined score.
        flaggable: (N,) bool: took the second pass, and so can be flagged at all.
        raw_labels: (N,) int64, the answer if not flagged.
        corrected_labels: (N,) int64, the answer if flagged.
    """

    score: NDArray[np.float64]
    flaggable: NDArray[np.bool_]
    raw_labels: Labels
    corrected_labels: Labels

    def flagged(self, threshold: float) -> NDArray[np.bool_]:
        """Rows (N,) flagged at a threshold; NaN scores are."""
        return self.flaggable & ~(self.score <= threshold)

    def labels(self, threshold: float) -> Labels:
        """Answers (N,) at a threshold."""
        chosen: Labels = np.where(self.flagged(threshold), self.corrected_labels, self.raw_labels)
        return chosen


def twin_view(twin: DefendedTwin, images: Images, *, batch_size: int = 250) -> GateView:
    """The gate of a ``guarded`` defence on images (N, *shape) float32 in [0, 1], through its torch twin."""
    limit = twin.spec.gate.screen_threshold
    parts: list[tuple[NDArray[np.float64], ...]] = []
    with evaluation_mode(twin), torch.no_grad():
        for start in range(0, len(images), batch_size):
            out = twin(torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])))
            sight = out.sight.numpy()
            screened = np.ones(len(sight), bool) if limit is None else ~(sight <= limit)
            raw = out.raw_logits.argmax(1).numpy()
            parts.append((out.score.numpy().astype(np.float64), screened, raw, out.candidate.numpy()))
    score, flaggable, raw_labels, corrected = (np.concatenate(part) for part in zip(*parts, strict=True))
    return GateView(score, flaggable.astype(bool), raw_labels.astype(np.int64), corrected.astype(np.int64))
