"""What converted files answer, and what they were calibrated on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nip_export.calibrate.gate import allowed_flags, calibrate
from nip_export.defence import statistics
from nip_export.network.run import run_network
from nip_export.pipeline import calibrate_gate
from nip_export.precision import measure_agreement
from nip_export.verify.oracle import look_again
from nip_export.verify.tolerance import on_the_edge
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import PERTURBED, ROWS
from nip_runtime.file.rates import Rate
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.session import DefendedSession
from tests.precision.made import BUDGET, CALIBRATION_SET, Made, open_session


def test_the_file_answers_what_numpy_makes_of_the_converted_backbone(converted: Made) -> None:
    expected, spec = converted.expected, converted.report.spec
    with DefendedSession(converted.path, device="cpu", threads=1) as session:
        found = session.predict(converted.inputs)
    rows = ~on_the_edge(spec, expected)
    assert rows.sum() > 0.9 * len(rows)
    assert 3 < expected.reading.flagged[rows].sum() < rows.sum() - 3, "both branches were compared"
    np.testing.assert_allclose(found.raw_logits, expected.raw, atol=1e-4 * np.abs(expected.raw).max())
    scale = float(spec.gate.response_scale.inverse_std.max()) * np.abs(expected.raw).max()
    np.testing.assert_allclose(found.logits[rows], expected.decision.logits[rows], atol=1e-4 * scale)
    np.testing.assert_array_equal(found.flagged[rows], expected.reading.flagged[rows])
    np.testing.assert_array_equal(found.candidate[rows], expected.decision.candidate[rows])
    np.testing.assert_allclose(found.suspicion[rows], expected.reading.suspicion[rows], atol=1e-2)


def test_rows_that_pass_keep_the_logits_of_the_plain_file_bit_for_bit(converted: Made) -> None:
    (plain,) = open_session(converted.plain).run(["logits"], {"input": converted.inputs})
    with DefendedSession(converted.path, device="cpu", threads=1) as session:
        found = session.predict(converted.inputs)
    if converted.prepared.bench.config.precision == "int8":
        np.testing.assert_array_equal(found.raw_logits, plain)
    np.testing.assert_allclose(found.raw_logits, plain, atol=1e-4)
    np.testing.assert_array_equal(found.logits[~found.flagged], found.raw_logits[~found.flagged])


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_rows_are_independent(converted: Made, batch: int) -> None:
    # In fp16 weights that two copies share are no constants to the CPU provider, and rounding depends on
    # the kernel that it picks for a batch; in int8, as in fp32, every bit is the same.
    exact = converted.report.manifest.precision == "int8"
    session, inputs = open_session(converted.path), converted.inputs
    whole = session.run(None, {"input": inputs})
    for start in range(0, len(inputs), batch):
        part = session.run(None, {"input": inputs[start : start + batch]})
        for one, other in zip(part, whole, strict=True):
            expected = other[start : start + batch]
            if exact or one.dtype != np.float32:
                np.testing.assert_array_equal(one, expected)
            else:
                np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)


def test_the_view_and_what_it_adds_are_computed_in_float32(converted: Made) -> None:
    part = Sliceable(converted.path.read_bytes()).part(["input"], [PERTURBED, ROWS])
    moved, rows = open_session(part).run(None, {"input": converted.inputs})
    spec, chosen = converted.report.spec, converted.inputs[rows]
    assert len(rows) > 5
    expected = look_again(chosen, spec.view, spec.bank, spec.bounds)
    np.testing.assert_allclose(moved, expected, atol=1e-7)
    assert (moved != chosen).any()


def test_the_gate_is_calibrated_on_the_converted_backbone_with_the_promised_budget(
    converted: Made, fp32: Made
) -> None:
    prepared = converted.prepared
    bench, known = prepared.bench, prepared.known
    gate, labels = converted.report.spec.gate, bench.calibration.labels
    # By hand: both passes through the plain file in onnxruntime, then the calibration.
    first = converted.backbone.run(bench.calibration.inputs, batch_size=100)
    moved = look_again(bench.calibration.inputs, prepared.view, prepared.bank, (0.0, 1.0))
    second = converted.backbone.run(moved, batch_size=100).logits
    by_hand = calibrate(
        first,
        second,
        labels,
        known,
        benign_budget=BUDGET,
        screen_rate=bench.config.screen_rate,
        policy=Policy.GUARDED,
        seed=bench.config.seed,
    )
    assert by_hand.gate.flag_threshold == pytest.approx(gate.flag_threshold, rel=1e-6)
    assert by_hand.gate.screen_threshold == pytest.approx(gate.screen_threshold, rel=1e-6)
    assert by_hand.flag_rate == converted.report.manifest.calibration.flag_rate
    # Torch's passes give another gate, be it by little.
    torch_gate = fp32.report.spec.gate
    np.testing.assert_array_equal(prepared.rho.steps, fp32.prepared.rho.steps)
    assert gate.flag_threshold != torch_gate.flag_threshold
    assert gate.screen_threshold != torch_gate.screen_threshold
    assert (gate.response_scale.mean != torch_gate.response_scale.mean).all()
    with DefendedSession(converted.path, device="cpu", threads=1) as session:
        answers = session.predict(bench.calibration.inputs)
    right = answers.raw_labels == labels
    # The threshold was cut on cross-validated scores: a gate flags no more of what it was fitted to.
    assert answers.flagged[right].sum() <= allowed_flags(int(right.sum()), BUDGET) + 2
    assert answers.flagged[right].sum() > 0


def test_read_outs_are_fitted_to_the_converted_activations(int8: Made, fp32: Made) -> None:
    ours, theirs = int8.prepared.known.readouts[0], fp32.prepared.known.readouts[0]
    assert ours.tap == theirs.tap
    assert (ours.weight != theirs.weight).any()
    early = statistics.evidence(int8.prepared.known.readouts, int8.prepared.bench.calibration_pass.pooled)
    accuracy = (early.argmax(1) == CALIBRATION_SET.labels).mean()
    assert accuracy == pytest.approx(next(r for r in int8.report.layers if r.used).accuracy.value)


def test_the_agreement_in_the_manifest_is_that_of_file_and_torch(converted: Made) -> None:
    bench, manifest = converted.prepared.bench, converted.report.manifest
    inputs, labels = bench.calibration.inputs, bench.calibration.labels
    with torch.no_grad():
        theirs = bench.network.eval()(torch.from_numpy(inputs))[0].numpy()
    (ours,) = open_session(converted.plain).run(["logits"], {"input": inputs})
    assert manifest.conversion is not None
    same = int((ours.argmax(1) == theirs.argmax(1)).sum())
    assert manifest.conversion.same_label == Rate(same, len(labels))
    assert manifest.conversion.same_label.value > 0.97
    difference = float(np.abs(ours - theirs).max())
    assert manifest.conversion.max_abs_logit_difference == pytest.approx(difference, rel=1e-3)
    assert 1e-3 < difference < 5
    assert manifest.conversion.accuracy_fp32 == Rate(int((theirs.argmax(1) == labels).sum()), len(labels))
    assert manifest.calibration.accuracy_raw == Rate(int((ours.argmax(1) == labels).sum()), len(labels))


def test_agreement_by_hand() -> None:
    fp32 = np.array([[1, 0], [0, 1], [3, 2], [0, 5]], np.float32)
    other = np.array([[1, 0], [2, 1], [3, 2.5], [0, 5]], np.float32)
    found = measure_agreement(fp32, other, np.array([0, 1, 0, 0]))
    assert found.same_label == Rate(3, 4)
    assert found.max_abs_logit_difference == 2
    assert (found.accuracy_fp32, found.accuracy, found.loss) == (Rate(3, 4), Rate(2, 4), 0.25)


def test_a_lower_budget_is_cut_from_the_same_conversion(int8: Made) -> None:
    bench = int8.prepared.bench
    found = calibrate_gate(bench, int8.prepared.known, int8.prepared.second)
    assert found.gate.flag_threshold == int8.report.spec.gate.flag_threshold
    run = run_network(bench.network, int8.inputs[:3], bench.grids, batch_size=3, device=torch.device("cpu"))
    assert (bench.run(int8.inputs[:3]).logits != run.logits).any(), "the bench answers by the converted one"
