from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nip_export.calibrate import Known, fit_tests, fit_typicality, set_screen, set_threshold
from nip_export.defence.decision import FirstLook, read_gate
from nip_export.defence.spec import DefenceSpec, ReadOut
from nip_export.defence.views import View, see
from nip_export.fit.perturbations import quantise
from nip_export.fit.perturbations.bank import coarse_shape
from nip_export.network import pool_activation
from nip_export.network.run import Passed, TapCells, run_network
from nip_export.verify import oracle
from nip_export.verify.compare import Answers, compare, oracle_answers
from nip_export.verify.oracle import Expected, Forward, look_again
from nip_export.verify.tolerance import KNIFE_EDGE, on_the_edge
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy, ViewStep
from tests.maths import by_hand
from tests.maths.toys import CPU, tap_automatically
from tests.models import ModelCase, case

Floats = NDArray[np.float32]
EPS = 8 / 255
ROWS = 24


VIEWS: dict[str, View] = {
    "vgg": (ViewStep.MIRROR, ViewStep.MEDIAN),
    "mlp": (ViewStep.GAIN,),
    "audio": (ViewStep.SHIFT, ViewStep.BLUR),
    "vit": (),
}
"""What the second pass of each network looks at its inputs by, unless the policy is `always`."""


def defence(net: ModelCase, policy: Policy, *, strength: float = 1.0) -> tuple[DefenceSpec, Forward, Floats]:
    """Two random read-outs, a random bank under a view and a gate that screens and flags some inputs."""
    random = np.random.default_rng(0)
    model, inputs = net.build(), net.batch(ROWS).numpy()
    network, cells = tap_automatically(model, net.batch(2))
    features = cells[-1].tap
    grids = (*cells[:-1], TapCells(features, 1))

    def forward(x: Floats) -> Passed:
        return run_network(network, x, grids, batch_size=7, device=CPU)

    passed = forward(inputs)
    readouts = []
    for grid in grids[:-1][:2]:
        activations = passed.pooled[grid.tap.name]
        weight = (
            random.normal(size=(activations.shape[1], 10)) / activations.std() / activations.shape[1] ** 0.5
        )
        readouts.append(
            ReadOut(
                grid.tap.name,
                grid.tap.kind,
                grid.cells,
                weight.astype(np.float32),
                random.normal(size=10).astype(np.float32),
            )
        )
    typicality = fit_typicality(
        passed.pooled[features.name], np.arange(ROWS) % 10, tap=features.name, kind=features.kind
    )
    rows = 10 if policy is Policy.ALWAYS else 1
    values = random.choice([-EPS, EPS], (rows, *coarse_shape(net.shape))) * strength
    bank = quantise(values, eps=EPS, shape=net.shape)
    look = FirstLook.of(passed, readouts, typicality)
    always = policy is Policy.ALWAYS
    view = () if always else VIEWS[net.name]
    hypothesis = look.early.argmax(1) if always else None
    second = forward(look_again(inputs, view, bank, (0.0, 1.0), hypothesis=hypothesis)).logits
    known = Known(tuple(readouts), typicality, np.ones(10, bool))
    tests = set_screen(fit_tests(look, second, known, early_weight=0.3), look, screen_rate=0.7)
    reading = read_gate(tests, look, second)
    gate = set_threshold(tests, reading.score, reading.screened, benign_budget=0.4)
    spec = DefenceSpec(
        policy=policy,
        classes=10,
        bounds=(0.0, 1.0),
        readouts=tuple(readouts),
        typicality=typicality,
        gate=gate,
        view=view,
        bank=bank,
    )
    return spec, forward, inputs


@pytest.mark.parametrize("name", ["vgg", "mlp", "audio"])
@pytest.mark.parametrize("policy", Policy)
def test_the_oracle_is_the_definition_with_the_networks_own_passes(name: str, policy: Policy) -> None:
    spec, forward, inputs = defence(case(name), policy)
    found, first = oracle(spec, forward, inputs), forward(inputs)
    assert np.array_equal(found.raw, first.logits)
    evidence = [
        by_hand.evidence(spec.readouts, {tap: values[i].tolist() for tap, values in first.pooled.items()})
        for i in range(ROWS)
    ]
    hypotheses = [by_hand.first_largest(early) if policy is Policy.ALWAYS else 0 for early in evidence]
    seen = see(inputs, spec.view)
    moved = np.stack([x + spec.bank.dense()[h] for x, h in zip(seen, hypotheses, strict=True)])
    second = forward(moved.clip(0, 1)).logits
    branches = set()
    for i, early in enumerate(evidence):
        apart = by_hand.distance(spec.typicality, first.pooled[spec.typicality.tap][i].tolist())
        expected = by_hand.answer(
            spec.gate, policy, early, apart, first.logits[i].tolist(), second[i].tolist()
        )
        assert bool(found.reading.flagged[i]) == expected.flagged
        assert int(found.decision.candidate[i]) == expected.candidate
        assert found.reading.free[i] == pytest.approx(expected.free, rel=1e-4, abs=1e-4)
        assert found.reading.score[i] == pytest.approx(expected.score, rel=1e-4, abs=1e-4)
        assert found.decision.logits[i].tolist() == pytest.approx(expected.logits, rel=1e-4, abs=1e-4)
        branches.add((expected.screened, expected.flagged))
    assert branches == {(True, True), (True, False), (False, False)}, "every branch is compared"


@pytest.mark.parametrize("name", ["vgg", "mlp", "vit"])
def test_always_with_a_bank_of_zeros_is_the_plain_backbone_exactly(name: str) -> None:
    spec, forward, inputs = defence(case(name), Policy.ALWAYS, strength=0.0)
    plain = forward(inputs).logits
    assert not spec.bank.steps.any()
    assert np.array_equal(oracle(spec, forward, inputs).decision.logits.astype(np.float32), plain)
    strong, _, _ = defence(case(name), Policy.ALWAYS)
    assert not np.array_equal(oracle(strong, forward, inputs).decision.logits.astype(np.float32), plain)


def test_a_pass_pools_every_batch_as_torch_does() -> None:
    net = case("vgg")
    model, x = net.build(), net.batch(10)
    network, grids = tap_automatically(model, x, cells=3, mean=[0.4], std=[0.3])
    with torch.no_grad():
        logits, *activations = network(x)
    for batch_size in (3, 10, 64):
        done: list[int] = []
        passed = run_network(
            network, x.numpy(), grids, batch_size=batch_size, device=CPU, advance=done.append
        )
        assert sum(done) == 10 and max(done) <= batch_size
        np.testing.assert_allclose(passed.logits, logits, rtol=1e-4, atol=1e-5)
        for grid, activation in zip(grids, activations, strict=True):
            expected = pool_activation(activation, kind=grid.tap.kind, cells=grid.cells)
            np.testing.assert_allclose(passed.pooled[grid.tap.name], expected, rtol=1e-4, atol=1e-5)
    some = passed.take(np.array([4, 1]))
    assert np.array_equal(some.logits, passed.logits[[4, 1]])
    assert all(np.array_equal(some.pooled[name], passed.pooled[name][[4, 1]]) for name in passed.pooled)


@pytest.mark.parametrize(("policy", "rows"), [(Policy.ALWAYS, 1), (Policy.GUARDED, 10), (Policy.DETECT, 10)])
def test_a_bank_of_the_wrong_size_is_refused(policy: Policy, rows: int) -> None:
    spec, _, _ = defence(case("mlp"), policy)
    wrong = replace(spec.bank, steps=np.zeros((rows, 40), np.int8))
    with pytest.raises(ExportError, match=rf"bank rows for policy {policy}, got {rows}"):
        replace(spec, bank=wrong)


def test_always_alone_needs_a_read_out() -> None:
    spec, _, _ = defence(case("mlp"), Policy.ALWAYS)
    with pytest.raises(ExportError, match="at least one"):
        replace(spec, readouts=())
    for policy in (Policy.GUARDED, Policy.DETECT):
        spec, _, _ = defence(case("mlp"), policy)
        assert replace(spec, readouts=()).readouts == ()


def test_always_looks_at_the_input_itself_and_a_view_has_to_fit_the_input() -> None:
    spec, _, _ = defence(case("mlp"), Policy.ALWAYS)
    with pytest.raises(ExportError, match=r"policy always .* expected no view"):
        replace(spec, view=(ViewStep.GAIN,))
    vector, _, _ = defence(case("mlp"), Policy.GUARDED)
    with pytest.raises(ExportError, match=r"view: mirror needs .* got shape \(40,\)"):
        replace(vector, view=(ViewStep.MIRROR,))


def test_a_view_without_a_perturbation_is_the_view_alone() -> None:
    spec, forward, inputs = defence(case("vgg"), Policy.GUARDED, strength=0.0)
    assert not spec.bank.adds
    second = forward(see(inputs, spec.view)).logits
    reading = read_gate(spec.gate, FirstLook.of(forward(inputs), spec.readouts, spec.typicality), second)
    found = oracle(spec, forward, inputs).reading
    assert np.array_equal(found.score, reading.score) and np.array_equal(found.shifts, reading.shifts)
    assert np.abs(found.shifts).max() > 0, "the view moves something by itself"


@pytest.fixture(scope="module")
def expected() -> tuple[DefenceSpec, Expected]:
    spec, forward, inputs = defence(case("mlp"), Policy.GUARDED)
    return spec, oracle(spec, forward, inputs)


ALL = np.ones(ROWS, bool)


def with_field(answers: Answers, field: str, values: Any) -> Answers:
    changed: dict[str, Any] = {field: values}
    return replace(answers, **changed)


def test_equal_answers_agree(expected: tuple[DefenceSpec, Expected]) -> None:
    answers = oracle_answers(expected[1])
    worst, share, agrees = compare(answers, answers, ALL)
    assert worst == share == 0 and agrees.all()


@pytest.mark.parametrize("field", ["logits", "raw_logits", "suspicion", "flagged", "candidate"])
def test_an_answer_that_differs_in_one_row_is_refused(
    expected: tuple[DefenceSpec, Expected], field: str
) -> None:
    reference = oracle_answers(expected[1])
    values: NDArray[Any] = np.array(getattr(reference, field))
    row = values[5]
    values[5] = ~row if field == "flagged" else row + (1 if field == "candidate" else 0.02)
    other = with_field(reference, field, values)
    with pytest.raises(ExportError, match="differs from"):
        compare(other, reference, ALL)
    untouched = ALL.copy()
    untouched[5] = False
    compare(other, reference, untouched)


def test_the_gain_widens_the_corrected_logits_of_flagged_rows_and_nothing_else(
    expected: tuple[DefenceSpec, Expected],
) -> None:
    reference = oracle_answers(expected[1])
    flagged, passed = np.flatnonzero(reference.flagged)[0], np.flatnonzero(~reference.flagged)[0]

    def off(field: str, row: int, by: float) -> Answers:
        values = np.array(getattr(reference, field), np.float64)
        values[row] += by
        return with_field(reference, field, values)

    gain = 1e3 * float(np.abs(reference.logits).max())
    error = 0.05 * gain * 1e-4 * float(np.abs(reference.raw_logits).max())
    worst, share, _ = compare(off("logits", flagged, error), reference, ALL, gain=gain)
    assert worst == pytest.approx(error)
    size = max(1.0, float(np.abs(reference.raw_logits).max()))
    assert share == pytest.approx(error / (1e-4 * max(gain * size, np.abs(reference.logits).max())), rel=1e-3)
    for other in (off("logits", flagged, 1e3 * error), off("logits", passed, error)):
        with pytest.raises(ExportError, match="in logits"):
            compare(other, reference, ALL, gain=gain)
    with pytest.raises(ExportError, match="in raw_logits"):
        compare(off("raw_logits", flagged, error), reference, ALL, gain=gain)
    with pytest.raises(ExportError, match="in logits"):
        compare(off("logits", flagged, error), reference, ALL)


@pytest.mark.parametrize("field", ["logits", "raw_logits", "suspicion"])
def test_an_answer_that_is_not_a_number_is_refused(
    expected: tuple[DefenceSpec, Expected], field: str
) -> None:
    reference = oracle_answers(expected[1])
    values: NDArray[Any] = np.array(getattr(reference, field))
    values[3] = np.nan
    with pytest.raises(ExportError, match="differs from"):
        compare(with_field(reference, field, values), reference, ALL)


def test_only_rows_close_to_a_cut_or_a_tie_lie_on_the_edge(
    expected: tuple[DefenceSpec, Expected],
) -> None:
    spec, answers = expected
    reading, gate = answers.reading, spec.gate
    assert not on_the_edge(spec, answers).all()
    score, free = float(reading.score[2]), float(reading.free[3])
    for moved, row in (
        (replace(gate, flag_threshold=score + KNIFE_EDGE / 2), 2),
        (replace(gate, screen_threshold=free - KNIFE_EDGE / 2), 3),
    ):
        assert on_the_edge(replace(spec, gate=moved), answers)[row]
    away = replace(gate, flag_threshold=1e6, screen_threshold=1e6)
    assert not on_the_edge(replace(spec, gate=away), answers).any()
    tie = answers.raw.copy()
    tie[4, :2] = tie[4].max()
    assert on_the_edge(replace(spec, gate=away), replace(answers, raw=tie)).nonzero()[0].tolist() == [4]
