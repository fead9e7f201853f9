"""Files whose read-outs are stored in int8, as those of a thousand classes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nip_export import export_defended
from nip_export.attach.recover import recover_spec
from nip_export.fit.profiles import storage
from nip_runtime.file.names import EARLY
from nip_runtime.run.engine.cut import Sliceable
from tests.export.made import Made, Workshop, open_file, run
from tests.export.networks import net


@pytest.fixture(scope="module")
def stored(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An export in which every read-out counts as large."""
    case, model = net("mlp"), workshop.trained("mlp")
    folder = tmp_path_factory.mktemp("stored")
    path, plain = folder / "model.onnx", folder / "plain.onnx"
    (images, labels), calibration = case.benign()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "LARGE", 1)
        report = export_defended(
            model,
            images,
            labels,
            path,
            calibration=calibration,
            config=case.config(),
            plain_path=plain,
        )
    return Made(case, model, report, path, plain)


def test_weights_stand_in_the_file_as_bytes_alone(stored: Made) -> None:
    tensors = {tensor.name: tensor for tensor in onnx.load(stored.path).graph.initializer}
    assert stored.report.spec.readouts
    for readout in stored.report.spec.readouts:
        steps = tensors[f"nip/readout/{readout.tap}/steps"]
        assert steps.data_type == onnx.TensorProto.INT8
        assert tuple(steps.dims) == readout.weight.shape
        assert f"nip/readout/{readout.tap}/weight" not in tensors
        sizes = [
            onnx.numpy_helper.to_array(tensors[f"nip/readout/{readout.tap}/{part}"]).nbytes
            for part in ("steps", "step_size", "bias")
        ]
        assert sum(sizes) == readout.size_bytes


def test_oracle_and_file_agree(stored: Made) -> None:
    assert stored.report.manifest.verification.argmax_agreement == 1
    expected, answers = stored.expected, stored.answers
    np.testing.assert_array_equal(answers["nip_flagged"], expected.reading.flagged)
    np.testing.assert_array_equal(answers["nip_candidate"], expected.decision.candidate)
    np.testing.assert_allclose(answers["nip_suspicion"], expected.reading.suspicion, atol=1e-4)
    tolerance = 1e-4 * np.abs(expected.decision.logits).max()
    np.testing.assert_allclose(answers["logits"], expected.decision.logits, rtol=0, atol=tolerance)


def test_early_evidence_is_that_of_the_rounded_weights(stored: Made, tmp_path: Path) -> None:
    part = tmp_path / "part.onnx"
    part.write_bytes(Sliceable(stored.path.read_bytes()).part(["input"], [EARLY]))
    found = run(open_file(part), stored.inputs)[EARLY]
    passed, opinions = stored.forward(stored.inputs), []
    for readout in stored.report.spec.readouts:
        scores = passed.pooled[readout.tap].astype(np.float64) @ readout.weight + readout.bias
        scores -= scores.max(1, keepdims=True)
        opinions.append(scores - np.log(np.exp(scores).sum(1, keepdims=True)))
    np.testing.assert_allclose(found, np.mean(opinions, axis=0), atol=1e-3)


def test_the_defence_is_read_back_with_its_steps(stored: Made) -> None:
    spec = stored.report.spec
    recovered = recover_spec(stored.path, stored.kinds)
    for before, after in zip(spec.readouts, recovered.readouts, strict=True):
        assert before.step_size is not None and after.step_size is not None
        np.testing.assert_array_equal(after.steps, before.steps)
        np.testing.assert_array_equal(after.weight, before.weight)
        np.testing.assert_array_equal(after.bias, before.bias)
