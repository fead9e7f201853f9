"""The exported file against torch and numpy, on benign and on attacked inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from nip_export.defence.views import view_name
from nip_export.verify import DefendedTwin
from tests.export.made import LOOKED_AT, Arrays, Made, Workshop, run
from tests.export.networks import Normalised

TOLERANCE = 1e-4
CLOSE_CALL = 1e-3
BATCHES = (1, 3, 17)
VARIANTS = (
    ("vgg", "always", "auto"),
    ("vgg", "detect", "auto"),
    ("mlp", "always", "auto"),
    ("mlp", "detect", "auto"),
    ("vgg", "guarded", "median"),
    ("vgg", "guarded", "bits"),
    ("vgg", "guarded", "mirror+shift+median+rho"),
    ("vgg", "detect", "blur+gain+bits"),
    ("resnet", "guarded", "shift+blur+rho"),
    ("audio", "guarded", "shift+blur+gain+bits"),
    ("mlp", "guarded", "gain+rho"),
    ("mlp", "guarded", "rho"),
    ("mlp", "detect", "bits"),
)
"""Networks, policies and views besides guarded under the view that is chosen."""


def close(actual: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Within 1e-4 of the largest logit."""
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=TOLERANCE * scale)


def clear_rows(made: Made) -> NDArray[np.bool_]:
    """Rows whose decisions do not hang on the last digit; nearly all of them."""
    gate, reading = made.report.spec.gate, made.expected.reading
    clear = np.abs(reading.score - gate.flag_threshold) > CLOSE_CALL
    if gate.screen_threshold is not None:
        clear &= np.abs(reading.sight - gate.screen_threshold) > CLOSE_CALL
    assert clear.mean() > 0.9
    return np.asarray(clear)


def check_against_oracle(made: Made, answers: Arrays) -> None:
    rows, expected = clear_rows(made), made.expected
    close(answers["nip_raw_logits"], expected.raw)
    close(answers["logits"][rows], expected.decision.logits[rows])
    np.testing.assert_array_equal(answers["nip_flagged"][rows], expected.reading.flagged[rows])
    np.testing.assert_array_equal(answers["nip_candidate"][rows], expected.decision.candidate[rows])
    np.testing.assert_allclose(answers["nip_suspicion"], expected.reading.suspicion, rtol=0, atol=1e-2)
    labels = answers["logits"].argmax(1)
    best = np.sort(expected.decision.logits, axis=1)
    decided = rows & (best[:, -1] - best[:, -2] > CLOSE_CALL)
    np.testing.assert_array_equal(labels[decided], expected.decision.logits.argmax(1)[decided])


@pytest.mark.parametrize("batch", BATCHES)
def test_the_file_agrees_with_the_oracle(made: Made, batch: int) -> None:
    check_against_oracle(made, run(made.session, made.inputs, batch))


@pytest.mark.parametrize(("name", "policy", "view"), VARIANTS)
def test_other_policies_and_views_agree_with_the_oracle(
    workshop: Workshop, name: str, policy: str, view: str
) -> None:
    made = workshop.export(name, policy, view)
    spec = made.report.spec
    if view != "auto":
        assert view_name(spec.view, rho=spec.bank.adds) == view
    for batch in BATCHES:
        check_against_oracle(made, run(made.session, made.inputs, batch))


def check_against_twin(made: Made) -> None:
    twin = DefendedTwin(made.report.network, made.report.spec).eval()
    inputs = torch.from_numpy(made.inputs)
    with torch.no_grad():
        outputs = twin(inputs)
    rows = clear_rows(made)
    close(made.answers["nip_raw_logits"], outputs.raw_logits.numpy())
    close(made.answers["logits"][rows], outputs.logits.numpy()[rows])
    np.testing.assert_array_equal(made.answers["nip_flagged"][rows], outputs.flagged.numpy()[rows])
    np.testing.assert_array_equal(made.answers["nip_candidate"][rows], outputs.candidate.numpy()[rows])
    np.testing.assert_allclose(made.answers["nip_suspicion"], outputs.suspicion.numpy(), rtol=0, atol=1e-2)


def test_the_file_agrees_with_the_twin(made: Made) -> None:
    check_against_twin(made)


@pytest.mark.parametrize(("name", "policy", "view"), VARIANTS)
def test_other_policies_and_views_agree_with_the_twin(
    workshop: Workshop, name: str, policy: str, view: str
) -> None:
    check_against_twin(workshop.export(name, policy, view))


def test_raw_logits_are_the_users_model(made: Made) -> None:
    """Not through the exporter's wrapper: the model itself, behind a normalisation written apart."""
    inputs = torch.from_numpy(made.inputs)
    with torch.no_grad():
        wanted = Normalised(made.model, made.net.mean, made.net.std)(inputs).numpy()
    close(made.answers["nip_raw_logits"], wanted)
    np.testing.assert_array_equal(made.answers["nip_raw_logits"].argmax(1), wanted.argmax(1))


def test_splitting_a_batch_changes_no_bit(made: Made) -> None:
    for batch in (*BATCHES, 31):
        for name, values in run(made.session, made.inputs, batch).items():
            assert values.tobytes() == made.answers[name].tobytes(), f"{name} at batch {batch}"


def test_the_order_of_rows_changes_no_bit(made: Made) -> None:
    order = np.random.default_rng(0).permutation(len(made.inputs))
    for name, values in run(made.session, np.ascontiguousarray(made.inputs[order])).items():
        assert values.tobytes() == np.ascontiguousarray(made.answers[name][order]).tobytes(), name


def test_rows_that_are_not_flagged_keep_the_raw_logits_bit_for_bit(made: Made) -> None:
    kept = ~made.answers["nip_flagged"]
    assert kept.any()
    raw = made.answers["nip_raw_logits"]
    assert made.answers["logits"][kept].tobytes() == raw[kept].tobytes()
    alone = run(made.plain, made.inputs)["logits"]
    assert raw.tobytes() == alone.tobytes(), "pass 1 is the plain backbone"


def test_attacks_are_seen_and_some_corrected(made: Made) -> None:
    """Without these rows the tests above would compare the easy half alone."""
    raw, labels = made.answers["nip_raw_logits"].argmax(1), made.answers["logits"].argmax(1)
    fooled = raw[LOOKED_AT:] != made.labels[LOOKED_AT:]
    assert fooled.mean() > 0.8
    flagged = made.answers["nip_flagged"]
    assert flagged.any()
    if made.net.name != "mlp":  # a hidden layer gives a poor second opinion
        assert flagged[LOOKED_AT:].sum() > flagged[:LOOKED_AT].sum()
    assert (labels != raw)[flagged].all(), "a flagged row's predicted class gets the lowest value"
    np.testing.assert_array_equal(labels[flagged], made.answers["nip_candidate"][flagged])
    assert (made.answers["nip_suspicion"][flagged] > 0.9).all()


@pytest.mark.parametrize("name", ["vgg", "mlp"])
def test_detect_changes_nothing_and_flags_as_guarded_does(workshop: Workshop, name: str) -> None:
    guarded, detect = workshop.export(name), workshop.export(name, "detect")
    answers = detect.answers
    assert answers["logits"].tobytes() == answers["nip_raw_logits"].tobytes()
    for output in ("nip_raw_logits", "nip_suspicion", "nip_flagged", "nip_candidate"):
        np.testing.assert_array_equal(answers[output], run(guarded.session, detect.inputs)[output])
    assert answers["nip_flagged"].any()


@pytest.mark.parametrize("name", ["vgg", "mlp"])
def test_always_is_the_backbone_under_the_candidates_perturbation(workshop: Workshop, name: str) -> None:
    """From the file's own candidate and bank, through the plain backbone."""
    made = workshop.export(name, "always")
    bank = made.report.spec.bank
    moved = (
        made.inputs
        + (bank.steps.astype(np.float32) * np.float32(bank.step_size))[made.answers["nip_candidate"]]
    )
    wanted = run(made.plain, np.clip(moved, *made.net.bounds).astype(np.float32))["logits"]
    close(made.answers["logits"], wanted)
    assert float(np.abs(bank.dense()).max()) <= made.net.config().eps * (1 + 1e-6)
    assert (made.answers["logits"] != made.answers["nip_raw_logits"]).any(axis=1).all()


def test_a_zero_perturbation_answers_as_the_backbone(workshop: Workshop) -> None:
    """The clone is the backbone: with the bank set to nothing, both passes say the same."""
    made = workshop.export("vgg", "always")
    model = onnx.load(made.path)
    (bank,) = (i for i in model.graph.initializer if i.name == "nip/bank")
    bank.raw_data = bytes(len(bank.raw_data))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = run(session, made.inputs)
    assert answers["logits"].tobytes() == answers["nip_raw_logits"].tobytes()
