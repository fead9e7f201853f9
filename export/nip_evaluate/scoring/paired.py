"""Two classifiers on the same images: a test, and an interval of the difference."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # no py.typed

from nip_evaluate.scoring.outcome import Flags
from nip_evaluate.terms.results import Estimate, PairedTest
from nip_runtime.errors import InputError
from nip_runtime.file.rates import Rate

PAIRED_METHOD: Final = "paired difference of proportions, Newcombe's method 10 (1998), 95 %"


def share(hits: NDArray[np.bool_]) -> Rate:
    """How many of (n,) are true; n ≥ 1."""
    return Rate(int(np.count_nonzero(hits)), len(hits))


def share_or_none(hits: NDArray[np.bool_]) -> Rate | None:
    """How many of (n,) are true; None of nothing."""
    return share(hits) if len(hits) else None


def mcnemar(first_right: Flags, second_right: Flags) -> PairedTest:
    """McNemar's exact test of two classifiers' right answers (n,) on the same images.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947), in its exact form: the pairs that differ are coin tosses.
    """
    _same_images(first_right, second_right)
    first = int(np.count_nonzero(first_right & ~second_right))
    second = int(np.count_nonzero(second_right & ~first_right))
    differing = first + second
    p_value = float(stats.binomtest(first, differing, 0.5).pvalue) if differing else 1.0
    return PairedTest(only_first=first, only_second=second, p_value=min(p_value, 1.0))


def cost(undefended_right: Flags, defended_right: Flags) -> Estimate:
    """Accuracy given up, undefended − defended, from right answers (n,) to the same benign images; n ≥ 1.

    The interval stays honest when no answer differs: it then says how large a difference would still go
    unseen in n images.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17 (1998), method 10: Wilson's intervals of both shares,
    squared and added with their correlation, which is corrected for continuity.
    """
    _same_images(undefended_right, defended_right)
    count = len(undefended_right)
    first, second = share(undefended_right), share(defended_right)
    correlation = _correlation(undefended_right, defended_right)
    (low_1, high_1), (low_2, high_2) = first.interval, second.interval
    below = _square_and_add(first.value - low_1, high_2 - second.value, correlation)
    above = _square_and_add(high_1 - first.value, second.value - low_2, correlation)
    value = (first.count - second.count) / count
    return Estimate(value, max(value - below, -1.0), min(value + above, 1.0), count, PAIRED_METHOD)


def _correlation(first: Flags, second: Flags) -> float:
    """φ of the fourfold table; 0 if either is always or never right, when it is not defined."""
    both = int(np.count_nonzero(first & second))
    neither = int(np.count_nonzero(~first & ~second))
    one, other = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first))
    margins = (both + one) * (other + neither) * (both + other) * (one + neither)
    if margins == 0:
        return 0.0
    product = both * neither - one * other
    corrected = max(product - len(first) / 2, 0.0) if product > 0 else float(product)
    return corrected / math.sqrt(margins)


def _square_and_add(first: float, second: float, correlation: float) -> float:
    # Rounding may leave a square just below zero.
    return math.sqrt(max(first * first - 2 * correlation * first * second + second * second, 0.0))


def _same_images(first: Flags, second: Flags) -> None:
    if len(first) != len(second):
        raise InputError.mismatch(
            expected="answers of both to the same images",
            got=f"{len(first)} and {len(second)}",
            fix="cut both to the images they share",
        )
