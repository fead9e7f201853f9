"""A measured share together with how sure we may be of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_Z95: Final = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Rate:
    """``count`` successes out of ``n`` trials.

    Args:
        count: successes, 0 ≤ count ≤ n.
        n: trials, at least 1.

    Raises:
        ValueError: if ``n`` < 1 or ``count`` lies outside 0…n.
    """

    count: int
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n: expected at least 1 trial, got {self.n}")
        if not 0 <= self.count <= self.n:
            raise ValueError(f"count: expected 0 to n = {self.n}, got {self.count}")

    @property
    def value(self) -> float:
        """The share itself, in [0, 1]."""
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % score interval (low, high) within [0, 1].

        Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
        JASA 22 (1927). Unlike the normal approximation it stays honest at 0 of n and n of n.
        """
        z2 = _Z95 * _Z95
        centre = self.count + z2 / 2
        spread = _Z95 * math.sqrt(self.count * (self.n - self.count) / self.n + z2 / 4)
        # The ends are exactly 0 and 1 for 0 of n and n of n; rounding must not move them past the value.
        low = 0.0 if self.count == 0 else (centre - spread) / (self.n + z2)
        high = 1.0 if self.count == self.n else (centre + spread) / (self.n + z2)
        return low, high

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}] ({self.count}/{self.n})"
