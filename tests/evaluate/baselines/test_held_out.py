from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_evaluate.baselines import Detector
from nip_evaluate.baselines.held_out import Doubles, HeldOut, Rows, every_row, fixed
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import Images, Labels
from nip_export.calibrate.gate import allowed_flags
from nip_runtime.errors import ExportError

N, WRONG = 600, 60


def labelled() -> tuple[Labels, Labels]:
    """True classes and the network's, the last 60 wrong."""
    truth = np.zeros(N, np.int64)
    predicted = truth.copy()
    predicted[-WRONG:] = 1
    return truth, predicted


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.05, 0.3]))
def test_no_more_is_flagged_than_the_budget_allows_with_confidence(seed: int, budget: float) -> None:
    truth, predicted = labelled()
    score = np.random.default_rng(seed).normal(size=N)
    held = HeldOut.of(truth, predicted, fixed(score, predicted), seed=seed)
    flagged = score > held.threshold(budget)
    assert flagged[held.correct].sum() == allowed_flags(N - WRONG, budget)
    assert flagged[held.correct].mean() <= budget


def test_every_image_is_judged_by_a_fit_without_it() -> None:
    truth, predicted = labelled()
    fits: list[Rows] = []

    def judge(rows: Rows) -> tuple[Doubles, Labels]:
        fits.append(rows)
        return np.full(N, float(len(fits))), np.full(N, 10 + len(fits), np.int64)

    held = HeldOut.of(truth, predicted, judge)
    assert len(fits) == 5
    for number, rows in enumerate(fits, start=1):
        judged = held.score == number
        assert not (rows & judged).any() and not rows[~held.correct].any()
        assert (rows | judged)[held.correct].all(), "all others are learned from"
        assert (held.answer[judged] == 10 + number).all()
        assert judged[held.correct].sum() == (N - WRONG) // 5 and judged[~held.correct].sum() == WRONG // 5


def test_the_cost_counts_what_flags_spoil_and_mend() -> None:
    truth, predicted = labelled()
    score = np.zeros(N)
    score[::50] = 1.0 + np.arange(12)  # 12 images, the last one wrong and put right
    cost = HeldOut.of(truth, predicted, fixed(score, 1 - predicted)).cost(0.05)
    assert (cost.flag_rate.count, cost.flag_rate.n) == (11, N - WRONG)
    assert cost.accuracy_raw.count == N - WRONG
    assert cost.accuracy_defended.count == N - WRONG - 11 + 1


def test_a_detector_answers_flagged_rows_alone_anew() -> None:
    truth, predicted = labelled()
    scores = np.arange(N, dtype=np.float64)

    def view(images: Images) -> GateView:
        return every_row(images[:, 0].astype(np.float64), np.zeros(len(images), np.int64), predicted[:1] + 7)

    held = HeldOut.of(truth, predicted, fixed(scores, predicted + 2))
    detector = Detector(name="d", description="what", passes=1, view=view, held_out=held)
    defence = detector.defence(0.05)
    limit = detector.threshold(0.05)
    answers = defence.answer(np.array([[limit], [limit + 1], [np.nan]], np.float32))
    assert answers.flagged is not None and answers.flagged.tolist() == [False, True, True]
    assert answers.labels.tolist() == [0, 7, 7]
    assert (defence.name, defence.passes, defence.description) == ("d", 1, "what; benign budget 5.00%")
    assert detector.budget_for_cost(0.06, (0.01, 0.02, 0.5)) == 0.02


def test_too_few_images_are_refused() -> None:
    truth, predicted = labelled()
    with pytest.raises(ExportError, match=r"expected at least 50 .* got 49 of 109"):
        HeldOut.of(truth[-109:], predicted[-109:], fixed(np.zeros(109), truth[-109:]))
    held = HeldOut.of(truth, predicted, fixed(np.zeros(N), predicted))
    with pytest.raises(ExportError, match=r"benign_budget: 540 .* 0\.10% are flagged; give at least 2302"):
        held.threshold(0.001)
