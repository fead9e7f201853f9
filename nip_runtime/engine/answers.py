"""What every engine gives back, whatever it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class EngineKind(StrEnum):
    """How a defended file is executed."""

    AUTO = "auto"
    """Whichever is cheaper here; see :func:`nip_runtime.engine.choose.open_engine`."""
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


class Engine(Protocol[T]):
    """Executes one defended file."""

    @property
    def kind(self) -> EngineKind:
        """FUSED or GATED."""
        ...

    def run(self, inputs: T, *, options: object = None) -> Answers[T]:
        """Answer N ≥ 1 rows of float32 (N, *shape)."""
        ...
