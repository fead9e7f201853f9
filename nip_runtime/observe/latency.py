"""How long calls took, as counts in fixed buckets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

BOUNDS_S: Final = tuple(step * 10.0**power for power in range(-4, 2) for step in (1, 2, 5))
"""Upper bounds of the buckets in seconds, 100 µs to 50 s in steps of about 10^⅓; one more takes the rest.

Fixed, so that the counts of any two processes can be added.
"""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Durations of calls.

    Attributes:
        counts: calls per bucket, at most its bound and above the one before; one more than `BOUNDS_S`.
        sum_s: of all durations, in seconds.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        if len(self.counts) != len(BOUNDS_S) + 1 or min(self.counts) < 0:
            raise ValueError(f"counts: expected {len(BOUNDS_S) + 1} numbers from 0, got {self.counts}")
        if not self.sum_s >= 0:
            raise ValueError(f"sum_s: expected 0 or more, got {self.sum_s}")

    @property
    def calls(self) -> int:
        """Calls in all."""
        return sum(self.counts)

    def quantile_s(self, share: float) -> float:
        """A bound in seconds that at least this share of the calls kept to; inf beyond the last, NaN of none.

        Raises:
            ValueError: if ``share`` lies outside 0…1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share: expected 0 to 1, got {share}")
        if self.calls == 0:
            return float("nan")
        needed, seen = share * self.calls, 0
        for bound, count in zip(BOUNDS_S, self.counts, strict=False):
            seen += count
            if seen >= needed and seen > 0:
                return bound
        return float("inf")

    def __add__(self, other: Self) -> Latency:
        counts = tuple(mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        return Latency(counts=counts, sum_s=self.sum_s + other.sum_s)
