"""Files of other policies, without a screen, and of networks that take no images."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from nip_evaluate.adaptive import parity
from nip_evaluate.given.material import open_laboratory, settings_of
from nip_evaluate.given.paths import EvaluationPaths
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.run import run_evaluation
from nip_evaluate.terms.answers import twin_view
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Threat
from nip_export.attach.writing import weights_digest
from nip_export.support.progress import silent
from nip_runtime.file.manifest import SettingsInfo
from nip_runtime.session import DefendedSession
from tests.evaluate.run.conftest import TEST, Made, Quick, Run

ALL = EvaluationPlan(
    quick=True,
    attacks=("FGSM 25/255", "PGD 25/255"),
    adaptive_eps=(25 / 255,),
    caps={"T3": 3, "T4": 3, "PGD": 12},
)
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "mlp": ("mlp", {}),
    "mlp-always": ("mlp", {"policy": "always"}),
    "mlp-detect": ("mlp", {"policy": "detect"}),
    "mlp-every-row": ("mlp", {"screen_rate": 1.0}),
    "mlp-one-step": ("mlp", {"perturbation": "one-step"}),
    "audio": ("audio", {}),
}


def kind_of(quick: Quick, kind: str) -> Made:
    network, settings = KINDS[kind]
    return quick.export(network, "guarded" if not settings else kind, **settings)


def same_as_the_file(made: Made) -> None:
    """Benign inputs, the same with noise, and noise alone: the twin answers what the file does."""
    rng = np.random.default_rng(0)
    noise = rng.random((20, *made.images.shape[1:]), np.float32)
    shaken = np.clip(made.images + 0.2 * (rng.random(made.images.shape, np.float32) - 0.5), 0, 1)
    inputs = np.concatenate([made.images, shaken.astype(np.float32), noise])
    with DefendedSession(made.path, device="cpu", threads=1) as session:
        found = parity(made.target().twin, session, inputs)
        flagged = session.predict(inputs).flagged
    assert found.holds, str(found)
    assert found.same_answer.value >= 0.99
    always = made.target().spec.policy == "always"
    assert always or 0 < flagged.sum() < len(inputs), "both branches were compared"


@pytest.mark.parametrize("kind", KINDS)
def test_the_recovered_twin_is_the_file(quick: Quick, kind: str) -> None:
    same_as_the_file(kind_of(quick, kind))


def test_so_is_the_example_s(made: Made) -> None:
    same_as_the_file(made)


def evaluated(made: Made, out: Path, plan: EvaluationPlan = ALL) -> Evaluation:
    evaluation = run_evaluation(made.path, made.alone, out, plan=plan)
    page = EvaluationPaths(out).page.read_text("utf-8")
    for result in evaluation.attacks:
        assert result.name in page
    for item in evaluation.not_measured:
        assert item.what.partition("(")[0].strip() in page
    return evaluation


def names(evaluation: Evaluation, threat: Threat) -> list[str]:
    return [result.name for result in evaluation.attacks if result.threat is threat]


def left_out(evaluation: Evaluation) -> dict[str, str]:
    return {item.what: item.why for item in evaluation.not_measured}


@pytest.mark.usefixtures("no_timing")
def test_always_has_neither_flags_nor_a_gate(quick: Quick, tmp_path: Path) -> None:
    evaluation = evaluated(kind_of(quick, "mlp-always"), tmp_path)
    assert evaluation.subject.policy == "always"
    assert evaluation.trade_offs == ()
    assert evaluation.benign.flagged is None
    assert evaluation.benign.second_pass is None
    assert {result.detected for result in evaluation.attacks} == {None}
    assert len(names(evaluation, Threat.ADAPTIVE)) == 6


@pytest.mark.usefixtures("no_timing")
def test_detect_answers_as_the_network_does_and_flags(quick: Quick, tmp_path: Path) -> None:
    evaluation = evaluated(kind_of(quick, "mlp-detect"), tmp_path)
    assert evaluation.subject.policy == "detect"
    assert evaluation.trade_offs == ()
    assert evaluation.benign.cost.value == 0
    for result in evaluation.attacks:
        assert result.defended == result.undefended
        assert result.dsr is None or result.dsr.count == 0
    detected = [result.detected for result in evaluation.attacks if result.detected is not None]
    assert detected
    assert evaluation.benign.flagged is not None


@pytest.mark.usefixtures("no_timing")
@pytest.mark.parametrize("kind", ["mlp-every-row", "audio"])
def test_what_takes_no_images_names_what_needs_them(quick: Quick, kind: str, tmp_path: Path) -> None:
    evaluation = evaluated(kind_of(quick, kind), tmp_path)
    assert names(evaluation, Threat.GRAY_BOX) == ["FGSM 25/255", "PGD 25/255"]
    assert names(evaluation, Threat.QUERY) == ["HopSkipJump L2 1.5"]
    assert len(names(evaluation, Threat.ADAPTIVE)) == 6
    why = left_out(evaluation)
    assert "expected images (N, C, H, W)" in why["Square 8/255"]
    assert "needs images" in why["JPEG compression"]
    if kind != "audio":  # sequences have a median of their own
        assert "needs images" in why["Median smoothing"]
    assert why["T2 transfer"] == "no surrogate network was given"
    assert {baseline.name for baseline in evaluation.baselines} >= {"bit depth 3"}
    assert evaluation.trade_offs[0].name == "this file"
    (twin,) = (check for check in evaluation.checks if "twin" in check.claim)
    assert twin.holds, twin.detail


def test_without_a_screen_every_row_takes_both_passes(quick: Quick) -> None:
    made = kind_of(quick, "mlp-every-row")
    target = made.target()
    assert target.spec.gate.screen_threshold is None
    assert target.manifest.defence.screen_threshold is None
    assert settings_of(target).screen_rate == 1.0
    assert twin_view(target.twin, made.images).flaggable.all()
    constants = {tensor.name for tensor in onnx.load(str(made.path)).graph.initializer}
    assert "nip/screen_threshold" not in constants
    screened = kind_of(quick, "mlp")
    assert "nip/screen_threshold" in {t.name for t in onnx.load(str(screened.path)).graph.initializer}
    assert not twin_view(screened.target().twin, screened.images).flaggable.all()


@pytest.mark.usefixtures("no_timing")
def test_every_row_is_said_to_take_the_second_pass(quick: Quick, tmp_path: Path) -> None:
    plan = replace(ALL, threats=(Threat.GRAY_BOX,), attacks=("FGSM",), baselines=False)
    evaluation = evaluated(kind_of(quick, "mlp-every-row"), tmp_path, plan)
    assert evaluation.benign.second_pass is not None
    assert evaluation.benign.second_pass.count == evaluation.benign.second_pass.n == TEST
    assert evaluation.baselines == ()


@pytest.mark.usefixtures("no_timing")
def test_networks_are_left_as_they_were_and_their_mode_does_not_matter(
    made: Made, finished: Run, tmp_path: Path
) -> None:
    model, surrogate = copy.deepcopy(made.material.model), copy.deepcopy(made.material.surrogate)
    assert surrogate is not None
    digests = [weights_digest(network) for network in (model, surrogate)]
    material = replace(made.alone, model=model.train(), surrogate=surrogate.train())
    plan = replace(
        finished.plan, threats=(Threat.GRAY_BOX, Threat.TRANSFER), attacks=("FGSM 8/255",), baselines=False
    )
    evaluation = run_evaluation(made.path, material, tmp_path, plan=plan)
    assert model.training and surrogate.training
    assert [weights_digest(network) for network in (model, surrogate)] == digests
    assert all(parameter.requires_grad for parameter in (*model.parameters(), *surrogate.parameters()))
    before = {result.name: replace(result, seconds=0.0) for result in finished.evaluation.attacks}
    assert len(evaluation.attacks) == 2
    for result in evaluation.attacks:
        assert replace(result, seconds=0.0) == before[result.name]


@pytest.mark.parametrize("settings", [{"cells": 2}, {"taps": ("net.1", "net.3")}, {"early_readouts": 2}])
def test_the_laboratory_taps_and_pools_as_the_file_does(quick: Quick, settings: dict[str, object]) -> None:
    network = "audio" if "taps" not in settings else "mlp"
    made = quick.export(network, next(iter(settings)), **settings)
    target = made.target()
    laboratory = open_laboratory(target, made.material, silent)
    assert laboratory is not None
    assert laboratory.policy == "guarded"
    cells = {readout.tap: readout.cells for readout in target.spec.readouts}
    assert {grid.tap.name: grid.cells for grid in laboratory.bench.early_grids}.items() >= cells.items()
    assert laboratory.bench.config.ascent_steps == 8, "as it was made with"


def test_the_laboratory_makes_variants_with_the_settings_of_the_file(quick: Quick) -> None:
    made = quick.export("mlp", "narrow", screen_rate=0.12, perturbation="one-step")
    laboratory = open_laboratory(made.target(), made.material, silent)
    assert laboratory is not None
    config = laboratory.bench.config
    assert (config.screen_rate, config.perturbation, config.ascent_steps) == (0.12, "one-step", 8)


def test_settings_of_files_too_old_to_state_them_are_inferred(quick: Quick) -> None:
    def inferred(made: Made) -> SettingsInfo:
        target = made.target()
        return settings_of(replace(target, manifest=replace(target.manifest, settings=None)))

    for kind, expected in (("mlp", 0.4), ("mlp-every-row", 1.0)):
        assert inferred(kind_of(quick, kind)).screen_rate == expected
    narrow = inferred(quick.export("mlp", "narrow", screen_rate=0.12, perturbation="one-step"))
    assert narrow.screen_rate == pytest.approx(0.12, abs=0.06)
    assert narrow.ascent_steps == 60, "the default, for want of anything better"
