"""Which flag rates are to be expected of benign traffic, and how that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Manifest
from nip_runtime.file.rates import Rate
from nip_runtime.support.arguments import check_share, check_whole

_HALVINGS: Final = 60
CONFIDENCE: Final = 0.99


@dataclass(frozen=True)
class Expected:
    """An interval of flag rates over *all* benign rows, those that the model gets wrong among them.

    The manifest's ``flag_rate`` is not that: it counts correctly classified images alone, for which the
    budget is a promise. Traffic has no labels, and images that the model gets wrong are flagged more often.
    Its ``flag_rate_all`` is, as calibration measured it; files older than schema 1.2 lack it, and allow only
    bounds that are loose where the model errs often. :meth:`from_rate` takes a rate of your own: run the
    session over a few thousand benign images of the kind to come (no labels needed) and count.
    :class:`Learned` does that with the first rows of the traffic itself.

    Args:
        low: lowest rate still expected, 0 ≤ low ≤ high, below 1. At 0 there is nothing to fall below.
        high: highest one, above 0, at most 1. At 1 there is nothing to rise above.
        basis: where the interval comes from, for messages.

    Raises:
        InputError: if the bounds are no such interval.
    """

    low: float
    high: float
    basis: str = "as given"

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high <= 1 and self.low < 1 and self.high > 0):
            raise InputError.mismatch(
                expected="flag rates 0 ≤ low ≤ high ≤ 1, low below 1, high above 0",
                got=f"{self.low} and {self.high}",
                fix="measure them: Expected.from_rate",
            )

    @classmethod
    def from_rate(cls, rate: Rate, *, confidence: float = CONFIDENCE) -> Self:
        """From flags counted over benign rows: every rate that the count is compatible with.

        Source: C. Clopper, E. Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
        the Binomial", Biometrika 26 (1934). Unlike a score interval it holds the true rate with at least the
        stated confidence for every rate: what lies outside in spite of it is a false alarm in the end.
        """
        return cls(*exact_interval(rate, confidence), f"{rate.count} of {rate.n} benign rows, measured")

    @classmethod
    def from_manifest(cls, manifest: Manifest, *, confidence: float = CONFIDENCE) -> Self:
        """From what calibration measured: ``flag_rate_all``, or bounds on it for a file that is older.

        Of all benign rows, at least those are flagged that are classified correctly and flagged, and at most
        those and every misclassified one; and none is flagged that did not take the second pass.
        """
        if manifest.flag_rate_all is not None:
            return cls(*exact_interval(manifest.flag_rate_all, confidence), "as calibration measured")
        measured = manifest.calibration
        images, correct = measured.accuracy_raw.n, measured.accuracy_raw.count
        least = Rate(measured.flag_rate.count, images)
        most = Rate(measured.flag_rate.count + images - correct, images)
        low, _ = exact_interval(least, confidence)
        high = min(exact_interval(rate, confidence)[1] for rate in (most, measured.pass2_rate))
        return cls(min(low, high), high, f"bounds from {images} calibration images")

    def __str__(self) -> str:
        return f"{self.low:.2%} to {self.high:.2%} ({self.basis})"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Measure the expected rate over the first rows of the traffic, which then must be benign.

    Args:
        rows: how many, at least 100. The interval narrows with their square root.
        confidence: of the interval, see :meth:`Expected.from_rate`.

    Raises:
        InputError: if there are fewer, or the confidence is no share between 0 and 1.
    """

    rows: int = 5000
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        check_whole("rows to learn from", self.rows, least=100)
        check_share("confidence", self.confidence)


def exact_interval(rate: Rate, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval (low, high) for a binomial share.

    Raises:
        InputError: if the confidence is no share between 0 and 1.
    """
    check_share("confidence", confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if rate.count == 0 else _share_where_at_most(rate.count - 1, rate.n, 1 - tail)
    high = 1.0 if rate.count == rate.n else _share_where_at_most(rate.count, rate.n, tail)
    return low, high


def _share_where_at_most(count: int, n: int, probability: float) -> float:
    """The share at which ``count`` of ``n`` successes or fewer are that probable."""
    steps = np.arange(1, count + 1, dtype=np.float64)
    log_ways = np.concatenate([[0.0], np.cumsum(np.log(n + 1 - steps) - np.log(steps))])
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(log_ways, n, middle) > probability:  # it falls as the share rises
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _at_most(log_ways: NDArray[np.float64], n: int, share: float) -> float:
    counts = np.arange(len(log_ways))
    logs = log_ways + counts * math.log(share) + (n - counts) * math.log1p(-share)
    return float(np.exp(logs).sum())
