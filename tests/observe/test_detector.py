"""The detector's arithmetic against its definition, row by row in exact fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_runtime.observe.detector import FALLS, RISES, Detector

_edges = st.floats(1e-4, 0.8)
_flags = st.lists(st.booleans(), max_size=60)


def fed(detector: Detector, flags: Sequence[bool]) -> Detector:
    for flag in flags:
        if flag:
            detector.flagged()
        else:
            detector.unflagged(1)
    return detector


def by_definition(edge: float, ratios: Sequence[float], flags: Sequence[bool]) -> float:
    total = Fraction(0)
    p = Fraction(edge)
    for ratio in ratios:
        odds = Fraction(ratio) * p / (1 - p)
        q, value = odds / (1 + odds), Fraction(0)
        for flag in flags:
            value = (value + 1) * (q / p if flag else (1 - q) / (1 - p))
        total += value
    return float(total / len(ratios))


@settings(deadline=None)
@given(_edges, st.sampled_from([RISES, FALLS]), _flags)
def test_evidence_is_the_sum_of_bets_begun_at_every_row(
    edge: float, ratios: tuple[float, ...], flags: list[bool]
) -> None:
    evidence = fed(Detector(edge, ratios), flags).evidence
    assert evidence == pytest.approx(by_definition(edge, ratios, flags), rel=1e-9)


@settings(deadline=None)
@given(_edges, st.sampled_from([RISES, FALLS]), _flags, st.integers(1, 200))
def test_a_run_of_unflagged_rows_is_taken_at_once(
    edge: float, ratios: tuple[float, ...], flags: list[bool], run: int
) -> None:
    one_by_one = fed(Detector(edge, ratios), [*flags, *[False] * run])
    at_once = fed(Detector(edge, ratios), flags)
    at_once.unflagged(run)
    assert at_once.evidence == pytest.approx(one_by_one.evidence, rel=1e-9)


@pytest.mark.parametrize("edge", [0.01, 0.3])
@pytest.mark.parametrize("ratios", [RISES, FALLS])
def test_no_row_is_expected_to_gain_at_the_edge_or_within(edge: float, ratios: tuple[float, ...]) -> None:
    """E[M after the row] ≤ M + 1 for each rate on the near side: what the false alarms rest on."""
    near = [edge, edge / 2, 0.0] if ratios is RISES else [edge, (1 + edge) / 2, 1.0]
    for rate in near:
        for history in ([], [True], [False] * 40, [True, False, True]):
            before = fed(Detector(edge, ratios), history).evidence
            if_flagged = fed(Detector(edge, ratios), [*history, True]).evidence
            if_not = fed(Detector(edge, ratios), [*history, False]).evidence
            assert rate * if_flagged + (1 - rate) * if_not <= (before + 1) * (1 + 1e-12)


def test_bets_stay_finite_and_come_back() -> None:
    high, low = Detector(0.02, RISES), Detector(0.02, FALLS)
    for detector in (high, low):
        detector.unflagged(10**9)
        assert math.isfinite(detector.evidence)
    for _ in range(10):
        high.flagged()
    assert high.evidence > 1e8  # what a billion calm rows lost need not be won back
    low.flagged()
    assert low.evidence >= 0
    low.unflagged(10**9)
    for _ in range(4000):
        low.flagged()
    assert (low.rows, low.flags) == (0, 0)  # nor is a change seen forever that is long undone


def test_tells_where_the_change_began() -> None:
    detector = fed(Detector(0.02, RISES), [False] * 500)
    assert (detector.rows, detector.flags) == (0, 0)
    fed(detector, [True, False, False, False] * 20)
    assert (detector.rows, detector.flags) == (80, 20)
    detector.restart()
    assert (detector.rows, detector.flags, detector.evidence) == (0, 0, 0.0)
