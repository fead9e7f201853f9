"""What every engine gives back, whatever it runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class EngineKind(StrEnum):
    """How a defended file is executed."""

    AUTO = "auto"
    """Whichever is cheaper here; see :func:`nip_runtime.run.engine.choose.open_engine`."""
    FUSED = "fused"
    """The whole graph in one session, as any other ONNX runtime executes it."""
    GATED = "gated"
    """The backbone once in memory, run a second time on rows that the host picks."""


@dataclass(frozen=True)
class Answers(Generic[T]):
    """The file's outputs for one run of N rows, as tensors of the runner's type.

    Attributes:
        logits: (N, C) float32, defended.
        raw_logits: (N, C) float32; the same tensor as ``logits`` where nothing can have been changed.
        suspicion: (N,) float32.
        flagged: (N,) bool.
        candidate: (N,) int64.
    """

    logits: T
    raw_logits: T
    suspicion: T
    flagged: T
    candidate: T

    @property
    def values(self) -> tuple[T, T, T, T, T]:
        """All of them, in the order above."""
        return self.logits, self.raw_logits, self.suspicion, self.flagged, self.candidate

    def map(self, change: Callable[[T], S]) -> Answers[S]:
        """The same with every tensor changed."""
        return Answers(*map(change, self.values))


class Engine(Protocol[T]):
    """Executes one defended file."""

    @property
    def kind(self) -> EngineKind:
        """FUSED or GATED."""
        ...

    def run(self, inputs: T, *, options: object = None) -> Answers[T]:
        """Answer N ≥ 1 rows of float32 (N, *shape)."""
        ...

    def warm(self, inputs: T, *, options: object = None) -> None:
        """Run whatever rows like these may ever make run."""
        ...
