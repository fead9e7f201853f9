"""The exported file seen from outside: plain ONNX, the promised inputs and outputs, an honest manifest."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import onnx
import pytest
import torch

from nip_export.data import digest
from nip_export.defence.views import menu
from nip_runtime.file.manifest import Layout
from nip_runtime.file.names import MANIFEST_KEY
from nip_runtime.session import DefendedSession
from tests.export.made import OUTPUTS, Made, Workshop, run
from tests.export.networks import BUDGET, CALIBRATION, Normalised, example, net

CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
POLICIES = ("guarded", "always", "detect")


def test_the_network_is_well_above_chance(made: Made) -> None:
    model = Normalised(made.model, made.net.mean, made.net.std)
    with torch.no_grad():
        logits = model(torch.from_numpy(made.net.inputs_of("test")))
    assert (logits.argmax(1).numpy() == example().test.labels).mean() >= 0.55


def test_the_file_is_plain_onnx(made: Made) -> None:
    model = onnx.load(made.path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert not {node.op_type for node in model.graph.node} & CONTROL_FLOW
    kinds = {attribute.type for node in model.graph.node for attribute in node.attribute}
    assert not kinds & {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}
    assert all(not initializer.external_data for initializer in model.graph.initializer)
    assert [entry.key for entry in model.metadata_props] == [MANIFEST_KEY]
    assert b"site-packages" not in made.path.read_bytes()


def test_inputs_and_outputs_are_those_of_the_contract(made: Made) -> None:
    shape = list(made.net.inputs_of("test", 1).shape[1:])
    (feed,) = made.session.get_inputs()
    assert (feed.name, feed.type, feed.shape) == ("input", "tensor(float)", ["N", *shape])
    assert [(o.name, o.type, o.shape) for o in made.session.get_outputs()] == [
        ("logits", "tensor(float)", ["N", 10]),
        ("nip_raw_logits", "tensor(float)", ["N", 10]),
        ("nip_suspicion", "tensor(float)", ["N"]),
        ("nip_flagged", "tensor(bool)", ["N"]),
        ("nip_candidate", "tensor(int64)", ["N"]),
    ]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_number_of_rows_runs_and_has_the_promised_form(made: Made, count: int) -> None:
    answers = run(made.session, made.inputs[:count])
    wanted = [(np.float32, (count, 10))] * 2 + [
        (np.float32, (count,)),
        (np.bool_, (count,)),
        (np.int64, (count,)),
    ]
    assert list(answers) == ["logits", *OUTPUTS]
    assert [(a.dtype, a.shape) for a in answers.values()] == [(np.dtype(d), s) for d, s in wanted]


def test_the_plain_file_has_the_same_door_and_one_output(made: Made) -> None:
    assert [(i.name, i.shape) for i in made.plain.get_inputs()] == [
        (i.name, i.shape) for i in made.session.get_inputs()
    ]
    assert [(o.name, o.shape) for o in made.plain.get_outputs()] == [("logits", ["N", 10])]


def test_the_manifest_says_what_was_done(made: Made) -> None:
    """Read with json alone, from what plain onnxruntime hands out."""
    text = made.session.get_modelmeta().custom_metadata_map[MANIFEST_KEY]
    manifest = json.loads(text)
    config = made.net.config()
    shape = made.inputs.shape[1:]
    assert manifest["policy"] == "guarded"
    assert manifest["input"]["shape"] == list(shape)
    assert manifest["input"]["layout"] == ("NCHW" if len(shape) == 3 else "any")
    assert manifest["input"]["bounds"] == list(made.net.bounds)
    mean = made.net.mean
    assert manifest["input"]["mean"] == (None if mean is None else list(mean * (shape[0] // len(mean))))
    assert manifest["defence"]["eps_pixel"] == config.eps
    assert manifest["defence"]["top_k"] == config.top_k
    assert manifest["calibration"]["images"] == CALIBRATION
    assert manifest["verification"]["batches"] == [1, 3, 17]
    assert manifest["provenance"]["seed"] == config.seed
    assert manifest["provenance"]["opset"] == 17
    (profile, calibration) = made.net.benign()
    assert manifest["digests"]["profile_data"] == digest(*profile)
    assert manifest["digests"]["calibration_data"] == digest(*calibration)
    graph = onnx.load(made.path).graph.SerializeToString(deterministic=True)
    assert manifest["digests"]["graph"] == f"sha256:{hashlib.sha256(graph).hexdigest()}"


def test_the_taps_of_the_manifest_are_layers_of_the_model(made: Made) -> None:
    layers = dict(made.model.named_modules())
    defence = made.report.manifest.defence
    # A tap may be what a layer reads (layer:input), or what it gives when called again (layer#2).
    names = {tap.name for tap in defence.taps} | {defence.influence_layer}
    assert {re.split("[:#]", name)[0] for name in names} <= layers.keys()
    assert defence.influence_layer not in {tap.name for tap in defence.taps}
    stored = {i.name: i for i in onnx.load(made.path).graph.initializer}
    for tap in defence.taps:
        weight = stored[f"nip/readout/{tap.name}/weight"]
        assert list(weight.dims) == [tap.channels * tap.cells, 10]
    gate = made.report.manifest.gate
    assert gate is not None and gate.typicality_layer == defence.influence_layer
    features = made.report.plan.tap(defence.influence_layer)
    assert list(stored["nip/typicality_weight"].dims) == [features.channels, gate.directions]
    assert list(stored["nip/typicality_centres"].dims) == [gate.directions, gate.centres]


@pytest.mark.parametrize(("view", "rho"), [("mirror", False), ("rho", True), ("mirror+rho", True)])
def test_the_bank_is_stored_only_where_it_is_added(workshop: Workshop, view: str, rho: bool) -> None:
    made = workshop.export("vgg", view=view)
    stored = {i.name: i for i in onnx.load(made.path).graph.initializer}
    bank, gate = made.report.manifest.defence.bank, made.report.manifest.gate
    assert gate is not None and gate.rho is rho and not gate.views_tried
    assert ("nip/bank" in stored) is rho
    assert bank.size_bytes == (28 * 28 if rho else 0)
    assert [bank.rows, *bank.shape] == [1, 1, 28, 28]
    if rho:
        assert stored["nip/bank"].data_type == onnx.TensorProto.INT8
        assert list(stored["nip/bank"].dims) == [1, 1, 28, 28]


def test_the_manifest_says_which_view_was_chosen_and_why(made: Made) -> None:
    manifest, spec = made.report.manifest, made.report.spec
    gate = manifest.gate
    assert gate is not None
    assert (gate.view, gate.rho) == (spec.view, spec.bank.adds)
    assert gate.early_weight == spec.gate.early_weight
    assert 0 < gate.early_weight <= 0.4
    assert manifest.defence.tests == ("disagreement", "typicality", "response", "change")
    tried = [(trial.view, trial.rho) for trial in gate.views_tried]
    offered = menu(made.inputs.shape[1:], made.net.bounds)
    assert {view for view, rho in tried if not rho} == {view for view in offered if view}
    assert len(set(tried)) == len(tried)
    assert (gate.view, gate.rho) in tried
    taken = next(t for t in gate.views_tried if (t.view, t.rho) == (gate.view, gate.rho))
    assert taken.kept.value >= 0.7 or taken.kept.value == max(t.kept.value for t in gate.views_tried)
    for trial in gate.views_tried:
        assert 0 <= trial.told <= 1 and trial.strength >= 0
        assert trial.kept.n <= 300


def test_the_front_door_agrees_with_bare_onnxruntime(made: Made) -> None:
    with DefendedSession(made.path, device="cpu", threads=1, max_batch=7, engine="fused") as session:
        result = session.predict(made.inputs)
        assert session.manifest == made.report.manifest
    for name in ("logits", *OUTPUTS):
        np.testing.assert_array_equal(getattr(result, name.removeprefix("nip_")), made.answers[name])


def test_the_gated_engine_agrees_with_bare_onnxruntime(made: Made) -> None:
    """Rows of a transformer that took the second pass may differ in the last bits, all others in none."""
    with DefendedSession(made.path, device="cpu", threads=1, max_batch=7, engine="gated") as session:
        result = session.predict(made.inputs)
    exact = result.logits == made.answers["logits"]
    passed = ~made.answers["nip_flagged"]
    assert exact[passed].all()
    assert exact.all() or made.net.name == "vit"
    np.testing.assert_array_equal(result.raw_logits, made.answers["nip_raw_logits"])
    np.testing.assert_array_equal(result.flagged, made.answers["nip_flagged"])
    np.testing.assert_array_equal(result.candidate, made.answers["nip_candidate"])
    scale = np.abs(made.answers["nip_raw_logits"]).max()
    np.testing.assert_allclose(result.logits, made.answers["logits"], rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(result.suspicion, made.answers["nip_suspicion"], rtol=0, atol=1e-5)


def test_the_benign_cost_is_within_its_promise(made: Made) -> None:
    """Calibrated to 5 %: on fresh benign images not many more are flagged, so not many more answers lost."""
    answers = run(made.session, made.net.inputs_of("test"))
    correct = answers["nip_raw_logits"].argmax(1) == example().test.labels
    assert answers["nip_flagged"][correct].mean() <= BUDGET + 0.04
    raw_accuracy = correct.mean()
    defended_accuracy = (answers["logits"].argmax(1) == example().test.labels).mean()
    assert defended_accuracy >= raw_accuracy * (1 - BUDGET) - 0.02
    assert ((answers["nip_suspicion"] >= 0) & (answers["nip_suspicion"] <= 1)).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_has_the_same_contract(workshop: Workshop, policy: str) -> None:
    made = workshop.export("mlp", policy)
    assert [o.name for o in made.session.get_outputs()] == ["logits", *OUTPUTS]
    assert made.report.manifest.policy == policy
    assert len(made.report.spec.bank.steps) == (10 if policy == "always" else 1)
    assert (made.report.manifest.defence.screen_threshold is None) == (policy == "always")
    onnx.checker.check_model(onnx.load(made.path), full_check=True)


def test_layouts_follow_the_rank() -> None:
    assert Layout("any") is Layout.ANY
    assert {net(name).inputs_of("test", 1).ndim for name in ("vgg", "audio", "mlp")} == {2, 3, 4}
