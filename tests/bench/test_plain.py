"""The plain model: cut out of the file, or a user's own that is checked first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.file.container import read_container
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.file.manifest import read_manifest
from nip_runtime.file.names import MANIFEST_KEY, RAW_LOGITS, SECOND_PASS
from nip_runtime.operate.bench.plain import users_plain
from nip_runtime.operate.bench.plan import BenchPlan
from nip_runtime.operate.bench.subject import prepare
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.session import DefendedSession


def _plan(path: Path, against: Path | None = None, batches: tuple[int, ...] = (1, 4)) -> BenchPlan:
    return BenchPlan(path=path, against=against, batches=batches, device="cpu", threads=1)


def test_the_cut_computes_the_raw_logits_and_nothing_of_the_defence(guarded: Path, plain_path: Path) -> None:
    subject = prepare(_plan(guarded), plain_path)
    inputs = subject.mixture.batch(6, 3)
    logits = np.array(subject.run_plain(inputs)())[0]
    with DefendedSession(guarded, device="cpu", threads=1) as session:
        assert np.array_equal(logits, session.predict(inputs).raw_logits)
    container = read_container(plain_path)
    assert [value.name for value in container.outputs] == [RAW_LOGITS]
    assert not any(weight.name.startswith((SECOND_PASS, "nip/")) for weight in container.initializers)
    assert subject.plain.size_bytes == plain_path.stat().st_size < guarded.stat().st_size
    assert subject.agreement.largest_difference == 0


def test_a_users_own_file_is_taken(guarded: Path, plain_path: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(_cut(guarded))
    subject = prepare(_plan(guarded, own), plain_path)
    assert subject.plain.path == own
    assert subject.agreement.images == 24
    assert not plain_path.exists()


def _cut(path: Path) -> bytes:
    return Sliceable(path.read_bytes()).part(["input"], [RAW_LOGITS])


def _linear(path: Path, *, shape: tuple[int | str, ...], classes: int = 10, name: str = "x") -> Path:
    """A model of one product: (…, 1, 28, 28) images to logits."""
    weights = np.random.default_rng(0).normal(size=(784, classes)).astype(np.float32)
    path.write_bytes(
        encode_model(
            nodes=[
                encode_node("Reshape", [name, "flat"], ["rows"]),
                encode_node("MatMul", ["rows", "w"], ["logits"]),
            ],
            inputs=[encode_value(name, "float32", list(shape))],
            outputs=[encode_value("logits", "float32", [shape[0], classes])],
            initializers=[encode_tensor("w", weights), encode_tensor("flat", np.array([-1, 784], np.int64))],
        )
    )
    return path


def test_another_network_is_refused(guarded: Path, plain_path: Path, tmp_path: Path) -> None:
    other = _linear(tmp_path / "other.onnx", shape=("N", 1, 28, 28))
    with pytest.raises(
        InputError, match=r"differ by at most 0\.001 of the largest one in .*other\.onnx, got"
    ):
        prepare(_plan(guarded, other), plain_path)


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        (
            ("N", 1, 32, 32),
            10,
            r"expected an input of float32 \(N, 1, 28, 28\) in .*, got x float32 \(N, 1, 32",
        ),
        (("N", 1, 28, 28), 7, r"expected an output of float32 \(N, 10\) in .*, got logits float32 \(N, 7\)"),
        ((4, 1, 28, 28), 10, "takes batches of 1, 4 in .*, got one that takes 4 only"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    shape: tuple[int | str, ...], classes: int, message: str, guarded: Path, plain_path: Path, tmp_path: Path
) -> None:
    other = _linear(tmp_path / "other.onnx", shape=shape, classes=classes)
    with pytest.raises(InputError, match=message):
        prepare(_plan(guarded, other), plain_path)


def test_a_file_that_is_no_model_is_refused(guarded: Path, plain_path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ArtifactError, match=r"expected an ONNX model in .*text\.onnx"):
        prepare(_plan(guarded, tmp_path / "text.onnx"), plain_path)


def test_a_model_for_one_batch_size_is_compared_in_batches_of_it(
    guarded: Path, plain_path: Path, tmp_path: Path
) -> None:
    """The cut with its batch axis fixed at 5, which divides no 24 inputs evenly."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(_cut(guarded))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 5
    own = tmp_path / "own.onnx"
    onnx.save(model, own)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        ort.InferenceSession(own).run(None, {"input": np.zeros((4, 1, 28, 28), np.float32)})
    subject = prepare(_plan(guarded, own, batches=(5,)), plain_path)
    assert subject.plain.batch == 5
    assert subject.agreement.relative == 0


def test_weights_beside_the_model_count(guarded: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    whole, split = tmp_path / "whole.onnx", tmp_path / "split.onnx"
    whole.write_bytes(_cut(guarded))
    onnx.save(onnx.load(whole), split, save_as_external_data=True, location="split.data", size_threshold=0)
    manifest = read_manifest(read_container(guarded).metadata[MANIFEST_KEY])
    beside = (tmp_path / "split.data").stat().st_size
    assert split.stat().st_size < beside
    found = users_plain(split, manifest, (1,)).size_bytes
    assert found == pytest.approx(
        split.stat().st_size + beside, rel=0.02
    )  # tensors may be aligned in the file
