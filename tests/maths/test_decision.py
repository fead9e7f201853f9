from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.defence import statistics
from nip_export.defence.decision import FirstLook, decide, read_gate
from nip_export.defence.spec import ClassScale, Curve, Gate, ReadOut
from nip_export.network import TapKind
from nip_export.network.grain import GRAIN
from nip_export.network.run import Passed
from nip_runtime.file.manifest import Policy
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
    reading, decision = rows.read(gate), rows.decide(policy, gate)
    for i in range(len(rows.raw)):
        expected = by_hand.answer(
            gate,
            policy,
            rows.early[i].tolist(),
            by_hand.distance(rows.known.typicality, rows.features[i].tolist()),
            rows.raw[i].tolist(),
            rows.second[i].tolist(),
        )
        assert bool(reading.screened[i]) == expected.screened
        assert bool(reading.flagged[i]) == expected.flagged
        assert reading.free[i] == pytest.approx(expected.free, rel=1e-9, abs=1e-9)
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
    gate, drawn = case
    rows = replace(drawn, raw=drawn.raw.astype(np.float32))
    answer = rows.decide(Policy.GUARDED, gate).logits
    calm = ~rows.read(gate).flagged
    assert answer[calm].astype(np.float32).tobytes() == rows.raw[calm].tobytes()


@seeded
@given(case=gates)
def test_guarded_never_gives_a_flagged_row_the_predicted_class(case: tuple[Gate, Statistics]) -> None:
    gate, rows = case
    gate = replace(gate, flag_threshold=-1.0)  # every screened row
    reading, decision = rows.read(gate), rows.decide(Policy.GUARDED, gate)
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
    detected, guarded = (rows.decide(policy, gate) for policy in (Policy.DETECT, Policy.GUARDED))
    assert np.array_equal(detected.logits, rows.raw)
    assert np.array_equal(detected.candidate, guarded.candidate)


@seeded
@given(case=gates, seed=st.integers(0, 99))
def test_rows_do_not_influence_each_other(case: tuple[Gate, Statistics], seed: int) -> None:
    gate, rows = case
    order = np.random.default_rng(seed).permutation(len(rows.raw))[: len(rows.raw) // 2]
    # Matrix products round differently for other numbers of rows, so the score may lie off a cut by a digit.
    whole, part = rows.read(gate), rows.take(order).read(gate)
    np.testing.assert_allclose(whole.score[order], part.score, rtol=1e-9, atol=1e-9)
    assert np.array_equal(whole.flagged[order], part.flagged)


def test_what_pass_2_gave_rows_that_are_not_screened_is_not_looked_at() -> None:
    gate = statistics_of(3).fit(budget=0.05, screen_rate=0.4)
    rows = statistics_of(4)
    first = rows.read(gate)
    assert 0 < first.screened.sum() < len(rows.raw)
    assert (first.shifts[~first.screened] == 0).all() and (first.shifts[first.screened] != 0).any()
    second = replace(rows, second=np.where(first.screened[:, None], rows.second, np.nan)).read(gate)
    for field in ("free", "screened", "flagged", "score", "suspicion", "shifts"):
        assert np.array_equal(getattr(first, field), getattr(second, field)), field


def test_a_row_on_a_cut_is_neither_screened_nor_flagged() -> None:
    gate, rows = statistics_of(3).fit(budget=0.05, screen_rate=0.4), statistics_of(4)
    first = rows.read(gate)
    row = int(first.sight.argmax())
    assert first.screened[row]
    on_screen = rows.read(replace(gate, screen_threshold=float(first.sight[row])))
    assert not on_screen.screened.any(), "the largest is not beyond itself"
    on_flag = replace(gate, screen_threshold=None, flag_threshold=float(first.score[row]))
    reading = rows.read(on_flag)
    assert reading.score[row] == first.score[row] and not reading.flagged[row]


def test_the_first_look_is_made_of_read_outs_and_distances_of_a_pass() -> None:
    rows = statistics_of(5, rows=6)
    passed = Passed(
        rows.raw.astype(np.float32),
        {"layer": rows.early.astype(np.float32), "features": rows.features.astype(np.float32)},
    )
    look = FirstLook.of(passed, rows.known.readouts, rows.known.typicality)
    assert look.apart.shape == (6, 4)
    for i in range(6):
        pooled = {name: values[i].tolist() for name, values in passed.pooled.items()}
        assert look.early[i].tolist() == pytest.approx(by_hand.evidence(rows.known.readouts, pooled))
        near = by_hand.distance(rows.known.typicality, pooled["features"])
        assert look.distance[i, 0] == pytest.approx(near, rel=1e-9)
        assert look.predicted[i] == by_hand.first_largest(passed.logits[i].tolist())
    assert look.grain is None, "no colour images"
    grain = np.arange(6, dtype=np.float32)
    look = FirstLook.of(
        Passed(passed.logits, {**passed.pooled, GRAIN: grain[:, None]}),
        rows.known.readouts,
        rows.known.typicality,
    )
    assert look.grain is not None and look.grain.tolist() == grain.tolist()
    some = look.take(np.array([4, 1]))
    for field in ("raw", "early", "apart", "grain"):
        assert np.array_equal(getattr(some, field), getattr(look, field)[[4, 1]])


def test_an_answer_by_hand() -> None:
    """Two of three classes are candidates; every number can be followed on paper."""
    always = ClassScale(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    shifts = ClassScale(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))
    ones = np.ones(1, np.float32)
    steep = Curve(0.0, 0 * ones, np.inf * ones, ones)  # max(s, 0)
    gate = Gate(always, steep, always, steep, shifts, steep, always, steep, 0.5, 1.0, 6.0, steep)
    look = FirstLook(np.array([[2.0, 0, 0]]), np.array([[-4.0, -1, -3]]), np.array([[5.0, 0.25]]))
    second = np.array([[2.0, 2, 1]])
    # Disagreement −1 − (−4) = 3, distance 0.25: free 3.25 > 1. Margins to class 0 were −2, −2 and are 0, −1:
    # shifts 2 and 1. Probabilities were e² / (e² + 2) = 0.787 and 0.107 twice; they are, with e² / (2e² + e)
    # = 0.422, 0.422 and e / (2e² + e) = 0.155: moved by 0.365 + 0.316 + 0.049 = 0.730. Score 5.98.
    reading = read_gate(gate, look, second)
    assert reading.free.tolist() == [3.25]
    assert reading.shifts.tolist() == [[0, 2, 1]]
    assert reading.score[0] == pytest.approx(3.25 + 2 + 0.730, abs=1e-3)
    assert reading.screened.all() and not reading.flagged.any()
    over = replace(gate, flag_threshold=5.97)
    flagged = read_gate(over, look, second)
    assert flagged.flagged.all()
    answer = decide(Policy.GUARDED, over, flagged, look.early, look.raw, second)
    # Half the early evidence and the shifts: class 1 has −0.5 + 2, class 2 −1.5 + 1, class 0 one nat less.
    assert answer.candidate.tolist() == [1]
    np.testing.assert_allclose(answer.logits[0] - answer.logits[0, 2], [-1, 2, 0], atol=1e-12)
    calm = decide(Policy.GUARDED, gate, reading, look.early, look.raw, second)
    assert calm.logits.tolist() == look.raw.tolist()
    always_answer = decide(Policy.ALWAYS, gate, reading, look.early, look.raw, second)
    assert (always_answer.logits.tolist(), always_answer.candidate.tolist()) == (second.tolist(), [1])


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


def test_the_largest_term_of_the_evidence_by_hand() -> None:
    def reads(tap: str, *weights: list[float], bias: list[float]) -> ReadOut:
        return ReadOut(tap, TapKind.VECTOR, 1, np.array(weights, np.float32), np.array(bias, np.float32))

    small = reads("small", [1, 1], bias=[0.5, 0])
    cancelling = reads("large", [2, -3], [-2, 1], bias=[-1, 4])
    pooled = {"small": np.array([[0.25]]), "large": np.array([[1.0, 1], [-2, 0.5]])}
    # "large": sizes 2 + 2 + 1 and 3 + 1 + 4, then 4 + 1 + 1 and 6 + 0.5 + 4. The sums themselves are smaller.
    assert statistics.largest_term([small, cancelling], pooled) == 10.5
    assert statistics.largest_term([small], pooled) == 0.75
    assert statistics.largest_term([], pooled) == 0


def test_disagreement_and_shift_by_hand() -> None:
    predicted = np.array([1, 0])
    early = np.array([[-1.0, -3, -2], [-0.5, -4, -2]])
    assert statistics.disagreement(early, predicted).tolist() == [[2], [-1.5]]
    raw, perturbed = np.array([[1.0, 5, 2], [3, 0, 0]]), np.array([[4.0, 6, 1], [3, 2, -1]])
    # Row 0: margins to class 1 were (−4, 0, −3) and are (−2, 0, −5). Row 1: (0, −3, −3), now (0, −1, −4).
    assert statistics.shift(raw, perturbed, predicted).tolist() == [[2, 0, -2], [0, 2, -1]]


def test_change_by_hand() -> None:
    # Probabilities ¾ and ¼ become ½ and ½: each moves by ¼. What moves by nothing counts as a 1024th.
    raw, second = np.log(np.array([[3.0, 1], [1, 1]])), np.log(np.array([[5.0, 5], [1, 1]]))
    np.testing.assert_allclose(statistics.change(raw, second), [[0.5], [1 / 1024]], atol=1e-12)
    certain = np.array([[1000.0, 0, 0]])
    turned = np.array([[0.0, 1000, 0]])
    assert statistics.change(certain, turned).tolist() == [[2]], "as far as it goes"
    saturated = np.array([[30.0, 0, 0], [20, 0, 0]])
    assert statistics.change(saturated, saturated[::-1]).tolist() == [[1 / 1024]] * 2, "rounding is no change"
    random = np.random.default_rng(0)
    before, after = random.normal(size=(20, 6)), 5 * random.normal(size=(20, 6))
    for i, (moved,) in enumerate(statistics.change(before, after)):
        assert moved == pytest.approx(by_hand.change(before[i].tolist(), after[i].tolist()), rel=1e-9)


def test_standardising_uses_the_row_of_the_predicted_class_or_the_one_that_all_share() -> None:
    values, predicted = np.array([[3.0, 3], [3, 3]]), np.array([1, 0])
    own = ClassScale(np.array([[1, 2], [0, 5]], np.float32), np.array([[2, 1], [1, 4]], np.float32))
    assert statistics.standardise(values, own, predicted).tolist() == [[3, -8], [4, 1]]
    shared = ClassScale(np.array([[1, 2]], np.float32), np.array([[2, 1]], np.float32))
    assert statistics.standardise(values, shared, predicted).tolist() == [[4, 1], [4, 1]]
