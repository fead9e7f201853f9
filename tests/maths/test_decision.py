from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export import statistics
from nip_export.capture import TapKind
from nip_export.decision import decide, read_gate
from nip_export.spec import ClassScale, Gate, ReadOut
from nip_runtime.manifest import Policy
from tests.maths import by_hand
from tests.maths.benign_like import Statistics, statistics_of

Doubles = NDArray[np.float64]
seeded = settings(max_examples=40, deadline=None, derandomize=True)

gates = st.builds(
    lambda seed, classes, decimals, budget, screen_rate: (
        statistics_of(seed, classes=classes, decimals=decimals).fit(budget=budget, screen_rate=screen_rate),
        # Others than the gate was fitted to, and wilder ones.
        statistics_of(seed + 1, rows=40, classes=classes, decimals=decimals, heavy_tails=True),
    ),
    st.integers(0, 10_000),
    classes=st.integers(2, 8),
    decimals=st.sampled_from([None, None, 1]),
    budget=st.sampled_from([0.02, 0.1, 0.3]),
    screen_rate=st.sampled_from([None, 0.3, 0.6, 1.0]),
)


def check(gate: Gate, rows: Statistics, policy: Policy) -> None:
    early, raw, perturbed = rows.early, rows.raw, rows.perturbed
    reading = read_gate(gate, early, raw, perturbed)
    decision = decide(policy, reading, early, raw, perturbed)
    for i in range(len(raw)):
        expected = by_hand.answer(gate, policy, early[i].tolist(), raw[i].tolist(), perturbed[i].tolist())
        assert bool(reading.screened[i]) == expected.screened
        assert bool(reading.flagged[i]) == expected.flagged
        assert reading.disagreement[i] == pytest.approx(expected.disagreement, rel=1e-9, abs=1e-9)
        assert reading.score[i] == pytest.approx(expected.score, rel=1e-4, abs=1e-4)
        assert reading.suspicion[i] == pytest.approx(expected.suspicion, rel=1e-3, abs=1e-3)
        assert decision.logits[i].tolist() == pytest.approx(expected.logits, rel=1e-9, abs=1e-9)
        assert int(decision.candidate[i]) == expected.candidate


@pytest.mark.parametrize("policy", Policy)
@seeded
@given(case=gates)
def test_every_policy_is_what_its_definition_says(case: tuple[Gate, Statistics], policy: Policy) -> None:
    check(*case, policy)


def test_above_a_hundred_classes_all_share_one_row_of_statistics() -> None:
    gate = statistics_of(1, rows=300, classes=101).fit(budget=0.1, screen_rate=0.5)
    assert not gate.response_scale.per_class
    for policy in Policy:
        check(gate, statistics_of(2, rows=30, classes=101), policy)


@seeded
@given(case=gates)
def test_guarded_keeps_the_logits_of_calm_rows_bit_for_bit(case: tuple[Gate, Statistics]) -> None:
    gate, rows = case
    raw = rows.raw.astype(np.float32)
    reading = read_gate(gate, rows.early, raw, rows.perturbed)
    answer = decide(Policy.GUARDED, reading, rows.early, raw, rows.perturbed).logits
    calm = ~reading.flagged
    assert answer[calm].astype(np.float32).tobytes() == raw[calm].tobytes()


@seeded
@given(case=gates)
def test_guarded_never_gives_a_flagged_row_the_predicted_class(case: tuple[Gate, Statistics]) -> None:
    gate, rows = case
    gate = replace(gate, flag_threshold=-1.0)  # every screened row
    reading = read_gate(gate, rows.early, rows.raw, rows.perturbed)
    decision = decide(Policy.GUARDED, reading, rows.early, rows.raw, rows.perturbed)
    flagged = reading.flagged
    assert (flagged == reading.screened).all()
    answers, predicted = decision.logits[flagged].argmax(1), rows.raw[flagged].argmax(1)
    assert (answers != predicted).all()
    assert (answers == decision.candidate[flagged]).all(), "the candidate is what the answer says"
    np.testing.assert_allclose(np.exp(decision.logits[flagged]).sum(1), 1, rtol=1e-12)


@seeded
@given(case=gates)
def test_detect_changes_no_logit_and_flags_as_guarded_does(case: tuple[Gate, Statistics]) -> None:
    gate, rows = case
    reading = read_gate(gate, rows.early, rows.raw, rows.perturbed)
    detected = decide(Policy.DETECT, reading, rows.early, rows.raw, rows.perturbed)
    guarded = decide(Policy.GUARDED, reading, rows.early, rows.raw, rows.perturbed)
    assert np.array_equal(detected.logits, rows.raw)
    assert np.array_equal(detected.candidate, guarded.candidate)


@seeded
@given(case=gates, seed=st.integers(0, 99))
def test_rows_do_not_influence_each_other(case: tuple[Gate, Statistics], seed: int) -> None:
    gate, rows = case
    order = np.random.default_rng(seed).permutation(len(rows.raw))[: len(rows.raw) // 2]
    whole = read_gate(gate, rows.early, rows.raw, rows.perturbed)
    part = read_gate(gate, rows.early[order], rows.raw[order], rows.perturbed[order])
    assert np.array_equal(whole.flagged[order], part.flagged)
    np.testing.assert_allclose(whole.score[order], part.score, rtol=1e-12)


def test_what_pass_2_gave_rows_that_are_not_screened_is_not_looked_at() -> None:
    gate = statistics_of(3).fit(budget=0.05, screen_rate=0.4)
    rows = statistics_of(4)
    first = read_gate(gate, rows.early, rows.raw, rows.perturbed)
    assert 0 < first.screened.sum() < len(rows.raw)
    garbage = np.where(first.screened[:, None], rows.perturbed, np.nan)
    second = read_gate(gate, rows.early, rows.raw, garbage)
    for field in ("screened", "flagged", "score", "suspicion", "shifts"):
        assert np.array_equal(getattr(first, field), getattr(second, field)), field


def test_evidence_is_the_mean_log_probability_of_the_readouts() -> None:
    random = np.random.default_rng(0)
    readouts = [
        ReadOut(
            name,
            TapKind.VECTOR,
            1,
            random.normal(size=(width, 4)).astype(np.float32),
            random.normal(size=4).astype(np.float32),
        )
        for name, width in (("first", 5), ("second", 3))
    ]
    pooled = {"first": random.normal(size=(8, 5)), "second": random.normal(size=(8, 3)) * 300}
    found = statistics.evidence(readouts, pooled)
    for i in range(8):
        row = {name: values[i].tolist() for name, values in pooled.items()}
        assert found[i].tolist() == pytest.approx(by_hand.evidence(readouts, row), rel=1e-9)


def test_disagreement_and_shift_by_hand() -> None:
    predicted = np.array([1, 0])
    early = np.array([[-1.0, -3, -2], [-0.5, -4, -2]])
    assert statistics.disagreement(early, predicted).tolist() == [[2], [-1.5]]
    raw, perturbed = np.array([[1.0, 5, 2], [3, 0, 0]]), np.array([[4.0, 6, 1], [3, 2, -1]])
    # Row 0: margins to class 1 were (−4, 0, −3) and are (−2, 0, −5). Row 1: (0, −3, −3), now (0, −1, −4).
    assert statistics.shift(raw, perturbed, predicted).tolist() == [[2, 0, -2], [0, 2, -1]]


def test_standardising_uses_the_row_of_the_predicted_class_or_the_one_that_all_share() -> None:
    values, predicted = np.array([[3.0, 3], [3, 3]]), np.array([1, 0])
    own = ClassScale(np.array([[1, 2], [0, 5]], np.float32), np.array([[2, 1], [1, 4]], np.float32))
    assert statistics.standardise(values, own, predicted).tolist() == [[3, -8], [4, 1]]
    shared = ClassScale(np.array([[1, 2]], np.float32), np.array([[2, 1]], np.float32))
    assert statistics.standardise(values, shared, predicted).tolist() == [[4, 1], [4, 1]]
