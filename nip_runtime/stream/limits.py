"""How much a stream does at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Real

from nip_runtime.errors import InputError
from nip_runtime.support.arguments import check_whole


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one stream; see :func:`nip_runtime.stream.predict_stream`.

    Raises:
        InputError: if one of them is out of range.
    """

    batch: int
    workers: int
    runs: int
    prefetch: int
    flush_after_ms: float | None

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("workers", 1), ("runs", 1), ("prefetch", 0)):
            check_whole(name, getattr(self, name), least=least)
        flush: object = self.flush_after_ms
        if flush is not None and not (isinstance(flush, Real) and isfinite(flush) and float(flush) >= 0):
            raise InputError.mismatch(
                expected="flush_after_ms of 0 or more milliseconds",
                got=repr(flush),
                fix="pass a number, or None to wait for full batches",
            )

    @property
    def in_flight(self) -> int:
        """Items taken from the source and not yet handed over, at most: what bounds the memory."""
        return self.batch * (1 + self.runs + self.prefetch)  # 1: the batch that is being handed over
