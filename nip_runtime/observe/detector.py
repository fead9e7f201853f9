"""Evidence that a rate has left one side of an interval, row by row, whenever that began.

For every alternative rate q beyond the edge p₀, the likelihood ratio of a row (q / p₀ if it is flagged,
(1 − q) / (1 − p₀) if not) has an expectation of at most 1 for every rate on the near side of p₀. So its
running product is an e-process: a bet against the edge that cannot be expected to gain. Where p₀ is a bound
on the probability of the next flag *given all rows before*, rows need not even be independent.

Such a product gains nothing from a change that comes late: what it lost in the meantime must be won back
first. An e-detector starts a bet at every row instead and adds them up,

    M ← (M + 1) · likelihood ratio,

which is one multiplication, and still M − t (t rows so far) is not expected to gain. Therefore, under any
rate within the edge: the probability that M reaches c within the first T rows is at most T / c, and the mean
number of rows before it does is at least c. The mean over several q keeps both.

Sources: J. Ville, "Étude critique de la notion de collectif" (1939), the inequality; I. Waudby-Smith,
A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024), the bets; J. Shin,
A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric framework for sequential change detection"
(arXiv:2203.03532), the detector (its e-SR) and the mean run length.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, expm1, log1p
from typing import Final, NamedTuple, Self

RISES: Final = (1.25, 1.6, 2.5, 5.0, 12.0, 40.0)
"""Alternatives above an edge, as ratios of the odds, the mildest first."""
FALLS: Final = (0.8, 0.5, 0.25, 0.0)
"""Alternatives below an edge."""
_MOST_LOG: Final = 600.0
"""Growth within one run of unflagged rows stops here, before float64 does; far beyond any threshold."""


class _Bet(NamedTuple):
    """One alternative against the edge."""

    flagged: float
    """Likelihood ratio of a flagged row."""
    unflagged: float
    """Likelihood ratio r of an unflagged one."""
    log_unflagged: float
    """Its logarithm, exact where r is close to 1."""
    fixed: float
    """What M would stay at if no row were flagged: r / (1 − r)."""

    @classmethod
    def against(cls, edge: float, ratio: float) -> Self:
        odds = ratio * edge / (1 - edge)
        rate = odds / (1 + odds)
        log_unflagged = log1p((edge - rate) / (1 - edge))
        return cls(rate / edge, exp(log_unflagged), log_unflagged, (1 - rate) / (rate - edge))


class Detector:
    """Looks out on one side of an edge.

    Args:
        edge: bound of the rate, above 0 and below 1.
        ratios: odds of the alternatives over those of the edge, the mildest first; all on one side of 1.
    """

    def __init__(self, edge: float, ratios: Iterable[float]) -> None:
        self._bets = tuple(_Bet.against(edge, ratio) for ratio in ratios)
        self._if_flagged = [bet.flagged for bet in self._bets]
        self._if_unflagged = [bet.unflagged for bet in self._bets]
        self.restart()

    def restart(self) -> None:
        """Forget all evidence."""
        self._values = [0.0] * len(self._bets)
        self._climb = 1.0
        self.rows = self.flags = 0

    @property
    def evidence(self) -> float:
        """M, averaged over the alternatives."""
        return sum(self._values) / len(self._values)

    def unflagged(self, count: int) -> None:
        """Take so many unflagged rows in a row: in closed form, however many they are."""
        if count == 1:
            self._one(self._if_unflagged, 0)
            return
        logs = [min(count * bet.log_unflagged, _MOST_LOG) for bet in self._bets]
        self._values = [
            value * exp(log) - bet.fixed * expm1(log)
            for value, log, bet in zip(self._values, logs, self._bets, strict=True)
        ]
        self._climbed(exp(logs[0]), count, 0)

    def flagged(self) -> None:
        """Take one flagged row."""
        self._one(self._if_flagged, 1)

    def _one(self, ratios: list[float], flags: int) -> None:
        self._values = [(value + 1) * ratio for value, ratio in zip(self._values, ratios, strict=True)]
        self._climbed(ratios[0], 1, flags)

    def _climbed(self, ratio: float, rows: int, flags: int) -> None:
        """Keep count of rows and flags since the mildest bet was last without gain.

        That row is where the change most probably began (as in CUSUM: E. S. Page, Biometrika 41, 1954).
        """
        self._climb = min(self._climb * ratio, 1e300)
        self.rows += rows
        self.flags += flags
        if self._climb <= 1:
            self._climb, self.rows, self.flags = 1.0, 0, 0
