"""The suspicion on its own: how well it tells attacks from benign images, and wrong answers from right."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats  # type: ignore[import-untyped]  # no py.typed

from nip_evaluate.scoring.outcome import Flags
from nip_evaluate.terms.results import Estimate, RiskCoverage, Roc
from nip_runtime.errors import InputError

ROC_POINTS: Final = 200
RISK_POINTS: Final = 100
AUC_METHOD: Final = (
    "Mann–Whitney; score interval on Hanley and McNeil's variance (Newcombe 2006, method 5), 95 %"
)
_Z95: Final = 1.959963984540054
_CLOSE: Final = 1e-12

Scores = NDArray[np.floating]
Doubles = NDArray[np.float64]


def roc(attack: str, benign: Scores, successes: Scores) -> Roc | None:
    """Receiver operating characteristic of a suspicion.

    Args:
        attack: name of the attack.
        benign: (N,) suspicion of benign images, N ≥ 1. NaN, which a gate flags, ranks above everything.
        successes: (M,) suspicion of the attack's successes.

    Returns:
        Points from (0, 0) to (1, 1), at most 200 of them; None without any success.

    Raises:
        InputError: without benign images.
    """
    if len(benign) == 0:
        raise InputError.mismatch(expected="benign images", got="none", fix="give at least one")
    if len(successes) == 0:
        return None
    low, high = _ranked(benign), _ranked(successes)
    cuts = np.unique(np.concatenate([low, high]))[::-1]
    false_alarms, detections = _share_from(low, cuts), _share_from(high, cuts)
    points = np.vstack([[0.0, 0.0], np.column_stack([false_alarms, detections])])
    return Roc(
        attack=attack,
        points=_thinned(points, points.sum(1), ROC_POINTS),
        auc=auc(low, high),
        benign=len(benign),
        successes=len(successes),
    )


def auc(benign: Scores, successes: Scores) -> Estimate:
    """Area under the curve: how often a success (M,) ranks above a benign image (N,), ties counting half.

    Sources: J. Hanley, B. McNeil, "The meaning and use of the area under a ROC curve", Radiology 143 (1982);
    R. Newcombe, "Confidence intervals for an effect size measure based on the Mann–Whitney statistic. Part
    2", Statistics in Medicine 25 (2006), method 5: ends are the areas from whose own standard error the
    estimate is 1.96 away. Unlike the estimate ± 1.96 standard errors, it stays honest at an area of 1.
    """
    low, high = _ranked(benign), _ranked(successes)
    ranks = stats.rankdata(np.concatenate([low, high]))
    excess = float(ranks[len(low) :].sum()) - len(high) * (len(high) + 1) / 2
    area = excess / (len(low) * len(high))
    lower, upper = _auc_interval(area, len(low), len(high))
    return Estimate(area, lower, upper, len(low) + len(high), AUC_METHOD)


def risk_coverage(name: str, suspicion: Scores, right: Flags) -> RiskCoverage:
    """Share of wrong answers among the least suspicious rows, at every share of rows answered.

    Rows of equal suspicion are answered together or not at all.

    Args:
        name: what the rows are.
        suspicion: (n,), n ≥ 1.
        right: (n,) bool, the answer is right.

    Raises:
        InputError: if the two are not about the same rows, or about none.
    """
    if len(suspicion) != len(right) or len(right) == 0:
        raise InputError.mismatch(
            expected="a suspicion and an answer for each of some rows",
            got=f"{len(suspicion)} and {len(right)}",
            fix="hand over both for the same rows",
        )
    ranked = _ranked(suspicion)
    order = np.argsort(ranked, kind="stable")
    wrong = np.cumsum(~right[order])
    ends = np.append(np.flatnonzero(np.diff(ranked[order]) != 0), len(order) - 1)
    points = np.column_stack([(ends + 1) / len(order), wrong[ends] / (ends + 1)])
    return RiskCoverage(name=name, points=_thinned(points, points[:, 0], RISK_POINTS), n=len(right))


def _ranked(scores: Scores) -> Doubles:
    """Scores with NaN above everything, as the gate takes it."""
    return np.where(np.isnan(scores), np.inf, scores.astype(np.float64))


def _share_from(scores: Doubles, cuts: Doubles) -> Doubles:
    """Share of the scores at or above every cut."""
    shares: Doubles = 1 - np.searchsorted(np.sort(scores), cuts, side="left") / len(scores)
    return shares


def _auc_interval(area: float, benign: int, successes: int) -> tuple[float, float]:
    effective = (benign + successes) / 2 - 1

    def distance(true: float) -> float:
        spread = (1 - true) / (2 - true) + true / (1 + true)
        variance = true * (1 - true) * (1 + effective * spread) / (benign * successes)
        return abs(area - true) - _Z95 * math.sqrt(variance)

    # At areas of 0 and 1 the standard error vanishes too: that root is not the end that is looked for.
    low = 0.0 if area == 0 else float(optimize.brentq(distance, 0.0, min(area, 1 - _CLOSE)))
    high = 1.0 if area == 1 else float(optimize.brentq(distance, max(area, _CLOSE), 1.0))
    return low, high


def _thinned(points: Doubles, along: Doubles, limit: int) -> tuple[tuple[float, float], ...]:
    """At most `limit` of the points (K, 2), evenly spread in the rising `along` (K,), with both ends."""
    rows = np.arange(len(points))
    if len(points) > limit:
        rows = np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], limit)))
        rows[-1] = len(points) - 1
    return tuple((float(x), float(y)) for x, y in points[rows])
