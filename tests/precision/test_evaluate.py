"""``nip evaluate`` on a file whose arithmetic no torch twin has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nip_evaluate.adaptive import parity_claim
from nip_evaluate.given.material import Material, open_laboratory
from nip_evaluate.given.paths import EvaluationPaths
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.target import Target, open_target
from nip_evaluate.report import summary
from nip_evaluate.run import run_evaluation
from nip_evaluate.stages import views as look
from nip_evaluate.terms.results import Latency
from nip_evaluate.terms.threats import Images
from nip_export.support.progress import silent
from nip_runtime.file.manifest import Precision
from nip_runtime.session import DefendedSession
from tests.precision.made import CALIBRATION_SET, EXAMPLE, PROFILE_SET, TEST_SET, Made, open_session


def target_of(made: Made) -> Target:
    return open_target(made.path, EXAMPLE.model, made.inputs)


def test_the_gate_of_the_target_is_the_file_s(converted: Made) -> None:
    target = target_of(converted)
    view = target.gate_view(converted.inputs)
    with DefendedSession(converted.path, device="cpu", threads=1) as session:
        found = session.predict(converted.inputs)
    threshold = target.spec.gate.flag_threshold
    assert not target.exact
    assert 0 < found.flagged.sum() < len(converted.inputs)
    np.testing.assert_array_equal(view.flagged(threshold), found.flagged)
    np.testing.assert_array_equal(view.labels(threshold), found.labels)
    np.testing.assert_array_equal(view.raw_labels, found.raw_labels)


def test_the_network_is_tapped_where_the_defence_reads_it(fp32: Made) -> None:
    target, spec = target_of(fp32), fp32.report.spec
    assert target.plan.features == spec.typicality.tap == fp32.report.plan.features
    assert set(target.twin.network.taps) == {*(readout.tap for readout in spec.readouts), spec.typicality.tap}
    view = target.gate_view(fp32.inputs)
    np.testing.assert_allclose(view.score, fp32.expected.reading.score, atol=1e-3)


def test_the_twin_is_another_network(int8: Made, fp32: Made) -> None:
    assert target_of(fp32).exact
    approximated = target_of(int8)
    ours = approximated.gate_view(int8.inputs).score
    theirs = target_of(fp32).gate_view(int8.inputs).score
    assert np.abs(ours - theirs).max() > 0.01


def test_latency_is_against_the_file_s_own_network(int8: Made) -> None:
    with target_of(int8).plain_file() as plain:
        (logits,) = open_session(plain).run(None, {"input": int8.inputs})
    (expected,) = open_session(int8.plain).run(None, {"input": int8.inputs})
    np.testing.assert_array_equal(logits, expected)


def test_an_evaluation_says_what_was_approximated(
    int8: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untimed(plain: Path, defended: Path, images: Images, *, batch: int) -> Latency:
        return Latency(batch=batch, plain_ms=1.0, defended_ms=2.0, ratio=2.0, rounds=1)

    monkeypatch.setattr(look, "measure_latency", untimed)
    material = Material(model=EXAMPLE.model, test=TEST_SET, profile=PROFILE_SET, calibration=CALIBRATION_SET)
    plan = EvaluationPlan(
        quick=True,
        attacks=("FGSM 25/255",),
        adaptive_eps=(25 / 255,),
        caps={"T3": 2, "T4": 3},
        baselines=False,
    )
    evaluation = run_evaluation(int8.path, material, tmp_path, plan=plan)
    assert evaluation.subject.precision == "int8"
    (check,) = [check for check in evaluation.checks if check.claim == parity_claim(Precision.INT8)]
    assert check.holds
    assert "max |Δ logit|" in check.detail
    assert any("in different precision" in check.claim and check.holds for check in evaluation.checks)
    page = " ".join(EvaluationPaths(tmp_path).page.read_text("utf-8").split())
    assert "The network in the file computes in <em>int8</em>" in page
    assert "everything is scored on the file. Twin against file: max" in summary.precision_line(evaluation)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(summary.precision_line(evaluation))
    assert "precision: int8" in shown.get()
    laboratory = open_laboratory(target_of(int8), material, silent)
    assert laboratory is not None
    assert laboratory.bench.converted is None
    assert laboratory.bench.config.ascent_steps == 3
