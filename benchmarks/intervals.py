"""Measured numbers with their 95 % intervals, as tables print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from nip_runtime.file.rates import Rate


@dataclass(frozen=True)
class Interval:
    """A share, in per cent without decimals when printed."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Interval:
        """What a JSON file holds of an estimate."""
        return cls(plain["value"], plain["low"], plain["high"])

    @classmethod
    def over_attacks(cls, rates: Sequence[Rate]) -> Interval:
        """Mean of shares of the same images under several attacks.

        The ends are the means of the shares' Wilson intervals: as wide as if the attacks told the same of
        every image, so never too narrow for depending on the same images.
        """
        lows, highs = zip(*(rate.interval for rate in rates), strict=True)
        return cls(mean(rate.value for rate in rates), mean(lows), mean(highs))

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} ({100 * self.low:.0f}–{100 * self.high:.0f})"


@dataclass(frozen=True)
class Cost:
    """Accuracy given up, in points when printed, and the inputs that it was measured on."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Cost:
        """What a JSON file holds of a paired difference."""
        return cls(plain["value"], plain["low"], plain["high"], plain["n"])

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} ({100 * self.low:.1f} to {100 * self.high:.1f}), n = {self.n}"
