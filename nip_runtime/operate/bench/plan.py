"""What to measure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

DEFAULT_SECONDS: Final = 15.0
DEFAULT_TOLERANCE: Final = 1e-3
DEFAULT_OPENINGS: Final = 5
_MOST_ROWS: Final = 1 << 16


class EngineChoice(StrEnum):
    """Which engines to time."""

    AUTO = "auto"
    """The one that :class:`~nip_runtime.session.DefendedSession` would take."""
    FUSED = "fused"
    GATED = "gated"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class BenchPlan:
    """What ``nip bench`` measures.

    Args:
        path: the defended file.
        batches: rows per run, each at least 1.
        shares: of the rows that take the second pass, each in [0, 1]; None: 0, the file's own rate on benign
            images, and 1. In files without a screen all rows take it.
        device: "auto", "cpu", "cuda" or "cuda:1".
        engine: which engines.
        against: a plain ONNX file of the same backbone; None cuts one out of the file.
        tolerance: largest difference of its logits from the file's raw logits, as a share of the largest.
        data: images or arrays to run on; none for random ones.
        rounds: of timing per batch size; None for as many as ``seconds`` allow.
        seconds: of timing in all, roughly. Every batch size gets some rounds even if they take longer.
        threads: CPU threads for one run; None for the cores that this process may use.
        openings: fresh processes per model that tell opening time and memory; 0 leaves it out.

    Raises:
        ValueError: naming field and value.
    """

    path: Path
    batches: tuple[int, ...] = (1, 16, 64)
    shares: tuple[float, ...] | None = None
    device: str = "auto"
    engine: EngineChoice = EngineChoice.AUTO
    against: Path | None = None
    tolerance: float = DEFAULT_TOLERANCE
    data: tuple[Path, ...] = ()
    rounds: int | None = None
    seconds: float = DEFAULT_SECONDS
    threads: int | None = None
    openings: int = DEFAULT_OPENINGS

    def __post_init__(self) -> None:
        for field, numbers in (("batches", self.batches), ("shares", self.shares)):
            if numbers is None:
                continue
            if not numbers or len(set(numbers)) != len(numbers):
                raise ValueError(f"{field}: expected different numbers, at least one, got {_shown(numbers)}")
        if not all(1 <= batch <= _MOST_ROWS for batch in self.batches):
            raise ValueError(f"batches: expected 1 to {_MOST_ROWS} rows, got {_shown(self.batches)}")
        if self.shares is not None and not all(0 <= share <= 1 for share in self.shares):
            raise ValueError(f"shares: expected shares from 0 to 1, got {_shown(self.shares)}")
        for name, count, least in (
            ("rounds", self.rounds, 1),
            ("threads", self.threads, 1),
            ("openings", self.openings, 0),
        ):
            if count is not None and count < least:
                raise ValueError(f"{name}: expected at least {least}, got {count}")
        for name, number in (("seconds", self.seconds), ("tolerance", self.tolerance)):
            if not 0 < number < float("inf"):
                raise ValueError(f"{name}: expected a positive number, got {number:g}")


def _shown(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers) or "none"
