"""Files in the forms that others write: the defended file opens and answers as the given one does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from nip_export import ExportConfig, ExportReport, export_defended, from_onnx
from nip_export.network.rebuilt import OnnxNetwork
from nip_runtime.session import DefendedSession
from tests.onnx_in.made import SIZE, Floats, Form, answers, bars, classifier

pytest.importorskip("onnx2fx", reason="the extra onnx-in is not installed")

STORED = np.random.default_rng(5).normal(size=(1, 1, SIZE, SIZE)).astype(np.float32).repeat(2, 0)
FORMS = {
    "opset 9": Form(opset=9),
    "opset 11, weights in Constant nodes": Form(opset=11, constants=True),
    "opset 13, softmax, size left open": Form(opset=13, ending="Softmax", open_size=True),
    "opset 17, one row at once": Form(opset=17, rows=1, reshape=(1, -1)),
    "opset 13, two rows at once and a stored map beside them": Form(
        opset=13,
        rows=2,
        reshape=(2, 24),
        more=[
            helper.make_node("Constant", [], ["map"], value=numpy_helper.from_array(STORED)),
            helper.make_node("Constant", [], ["first"], value_ints=[1]),
            helper.make_node("Constant", [], ["last"], value_ints=[13]),
            helper.make_node("Concat", ["middle", "map"], ["wider"], axis=1),
            helper.make_node("Slice", ["wider", "first", "last", "first"], ["middle_out"]),
        ],
    ),
    "opset 21, channels last": Form(opset=21, channels_last=True, rows=4, reshape=(4, 24)),
    "opset 17, whole numbers, channels last": Form(channels_last=True, is_uint8=True, ending="Softmax"),
    "opset 11, one score in a sigmoid": Form(opset=11, ending="Sigmoid", one_score=True),
    "opset 20, an operator that opset 17 lacks": Form(
        opset=20, more=[helper.make_node("Gelu", ["middle"], ["middle_out"], approximate="tanh")]
    ),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A file, what became of it, and what both say of images that the export never saw."""

    form: Form
    content: bytes
    network: OnnxNetwork
    report: ExportReport
    path: Path
    images: NDArray[np.uint8]
    wanted: Floats


@pytest.fixture(scope="module", params=FORMS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    form = FORMS[request.param]
    folder = tmp_path_factory.mktemp("form")
    plain = folder / "plain.onnx"
    onnx.save(classifier(form), plain)
    network = from_onnx(plain, shape=(SIZE, SIZE) if form.open_size else None)
    images, labels = bars(240, seed=2, classes=form.classes)
    path = folder / "out.nip.onnx"
    config = ExportConfig(view="mirror", policy="detect", benign_budget=0.1, batch_size=32)
    report = export_defended(network, images, labels, path, config=config)
    seen = bars(24, seed=3, classes=form.classes)[0]
    return Case(
        form, plain.read_bytes(), network, report, path, seen, answers(plain.read_bytes(), form, seen)
    )


def ended(form: Form, logits: Floats) -> NDArray[np.float64]:
    """What the given file would make of logits."""
    wide = logits.astype(np.float64)
    if form.one_score:
        assert np.array_equal(wide[:, 0], -wide[:, 1])
        wide = wide[:, 1:]
    if form.ending == "Sigmoid":
        return np.asarray(1 / (1 + np.exp(-wide)))
    if form.ending == "Softmax":
        powers = np.exp(wide - wide.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True))
    return wide


def test_the_defended_file_answers_as_the_given_one(case: Case) -> None:
    with DefendedSession(case.path, device="cpu") as session:
        result = session.predict(case.images)
        one = session.predict(case.images[:1])
    for found, wanted in ((result, case.wanted), (one, case.wanted[:1])):
        raw = found.raw_logits
        assert np.abs(ended(case.form, raw) - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())
    assert np.array_equal(result.logits, result.raw_logits), "policy detect changes nothing"
    classes = case.wanted.argmax(1) if not case.form.one_score else (case.wanted[:, 0] > 0.5)
    assert np.array_equal(result.labels, classes)


def test_the_network_is_right_about_most_images(case: Case) -> None:
    assert case.report.manifest.calibration.accuracy_raw.value > 0.9


def test_the_rebuild_gives_the_same_at_any_number_of_rows(case: Case) -> None:
    x = torch.from_numpy((case.images / 255).astype(np.float32).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        for rows in (1, 5, 24):
            found = ended(case.form, case.network(x[:rows]).numpy())
            wanted = case.wanted[:rows]
            assert np.abs(found - wanted).max() <= 1e-4 * max(1, np.abs(wanted).max())


def test_the_file_holds_the_given_weights(case: Case) -> None:
    """Not a rebuild: of the second convolution, which nothing is folded into, they are there bit for bit."""
    stored = {
        onnx.numpy_helper.to_array(tensor).tobytes()
        for tensor in onnx.load(case.path).graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    given = onnx.load_model_from_string(case.content).graph
    weights = {tensor.name: tensor for tensor in given.initializer}
    weights |= {node.output[0]: node.attribute[0].t for node in given.node if node.op_type == "Constant"}
    assert onnx.numpy_helper.to_array(weights["conv2_weight"]).tobytes() in stored


def test_what_was_done_is_said(case: Case) -> None:
    said = "\n".join(case.network.notes)
    form = case.form
    for holds, words in (
        (True, f"plain.onnx (opset {form.opset})"),
        (form.rows is not None, f"takes batches of {form.rows}: here of any size"),
        (form.channels_last, "(N, H, W, C)"),
        (form.is_uint8, "whole numbers in 0…255"),
        (form.ending is not None, f"ends in {(form.ending or '').lower()}: here it answers with the logits"),
        (form.one_score, "one score z"),
        (True, "in onnxruntime: the graph differs by"),
    ):
        assert (words in said) == holds, words
    assert all(note in case.report.summary() for note in case.network.notes[:1])
