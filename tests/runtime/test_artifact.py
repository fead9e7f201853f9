from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.container.encoder import encode_node, encode_value
from nip_runtime.file.container.wire import encode_bytes
from nip_runtime.file.manifest import SCHEMA_VERSION, Manifest
from nip_runtime.file.names import SUSPICION
from nip_runtime.session import DefendedSession
from tests.runtime.toy import CLASSES, graph_bytes, manifest_for, output_values, with_manifest

MODEL = graph_bytes()
MANIFEST = manifest_for(MODEL)


def _outputs_with(index: int, value: bytes) -> bytes:
    values = output_values()
    values[index] = value
    return graph_bytes(outputs=values)


def _swapped() -> bytes:
    values = output_values()
    values[0], values[1] = values[1], values[0]
    return graph_bytes(outputs=values)


def _rewrite(**changes: object) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, **changes)  # type: ignore[arg-type]


def _same(manifest: Manifest) -> Manifest:
    return manifest


_FOREIGN = encode_node("Fancy", ["flat"], ["fancy"]) + encode_bytes(7, "com.example")


@pytest.mark.parametrize(
    ("model", "edit", "message"),
    [
        pytest.param(
            MODEL,
            _rewrite(output=replace(MANIFEST.output, name="scores")),
            "expected graph outputs scores, nip_raw_logits, .*, got logits, nip_raw_logits",
            id="output-name",
        ),
        pytest.param(
            MODEL,
            _rewrite(output=replace(MANIFEST.output, classes=4, class_names=None)),
            r"expected graph output logits float32 \(N, 4\), got float32 \(N, 3\)",
            id="classes",
        ),
        pytest.param(
            MODEL,
            _rewrite(input=replace(MANIFEST.input, name="x")),
            "expected graph inputs x, got input",
            id="input-name",
        ),
        pytest.param(
            MODEL,
            _rewrite(input=replace(MANIFEST.input, shape=(1, 5, 4))),
            r"expected graph input input float32 \(N, 1, 5, 4\), got float32 \(N, 1, 4, 4\)",
            id="input-shape",
        ),
        pytest.param(
            graph_bytes(input_value=encode_value("input", "float32", [1, 1, 4, 4])),
            _same,
            r"got float32 \(1, 1, 4, 4\)",
            id="fixed-batch",
        ),
        pytest.param(
            _outputs_with(2, encode_value(SUSPICION, "int64", ["N"])),
            _same,
            r"expected graph output nip_suspicion float32 \(N,\), got int64 \(N,\)",
            id="output-dtype",
        ),
        pytest.param(
            _outputs_with(2, encode_value(SUSPICION, "float32", ["N", 1])),
            _same,
            r"expected graph output nip_suspicion float32 \(N,\), got float32 \(N, 1\)",
            id="output-rank",
        ),
        pytest.param(_swapped(), _same, "expected graph outputs logits, nip_raw_logits", id="output-order"),
        pytest.param(
            graph_bytes(outputs=output_values()[:-1]),
            _same,
            "expected graph outputs .*nip_candidate",
            id="too-few",
        ),
        pytest.param(
            graph_bytes(extra_nodes=[_FOREIGN]),
            _same,
            "expected standard operators only, got com.example.Fancy",
            id="foreign-operator",
        ),
        pytest.param(
            graph_bytes(extra_nodes=[encode_node("Loop", [], ["l"])]),
            _same,
            "expected no control flow, got Loop",
            id="control-flow",
        ),
        pytest.param(
            MODEL + encode_bytes(25, b""), _same, "expected no model-local functions, got 1", id="functions"
        ),
        pytest.param(
            MODEL,
            _rewrite(provenance=replace(MANIFEST.provenance, opset=18)),
            "expected opset 18, got opset 17",
            id="opset",
        ),
        pytest.param(
            MODEL,
            _rewrite(digests=replace(MANIFEST.digests, graph="sha256:" + "1" * 64)),
            "expected graph digest sha256:1{64}, got sha256:.*; the graph was changed after export",
            id="digest",
        ),
    ],
)
def test_refuses_a_file_that_differs_from_its_manifest(
    tmp_path: Path, model: bytes, edit: Callable[[Manifest], Manifest], message: str
) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(with_manifest(model, edit(manifest_for(model))))
    for opened in (read_artifact, DefendedSession):
        with pytest.raises(ArtifactError, match=message) as caught:
            opened(path)
        assert str(caught.value).startswith(f"{path}: expected ")


def test_the_unchanged_file_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(with_manifest(MODEL, MANIFEST))
    assert read_artifact(path).manifest == MANIFEST
    assert MANIFEST.output.classes == CLASSES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(MODEL, "expected a defended file, got a plain ONNX model .*nip export", id="plain"),
        pytest.param(
            b"PK\x03\x04 not onnx", "expected an ONNX model in .*, got something else", id="not-onnx"
        ),
        pytest.param(b"", "got an empty file", id="empty"),
        pytest.param(MODEL[:300], "got a file cut off after 300 bytes", id="truncated"),
        pytest.param(
            with_manifest(MODEL, "{}"), r"\$\.schema_version: expected a version", id="bad-manifest"
        ),
        pytest.param(with_manifest(MODEL, "not json"), "expected a manifest as JSON text", id="no-json"),
        pytest.param(
            with_manifest(MODEL, MANIFEST.to_json().replace(f'"{SCHEMA_VERSION}"', '"2.0"', 1)),
            "upgrade nip-runtime",
            id="newer",
        ),
    ],
)
def test_refuses_what_is_no_defended_file(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=message) as caught:
        DefendedSession(path)
    assert str(path) in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="got nothing there; check the path"):
        DefendedSession(tmp_path / "none.onnx")


def test_onnxruntime_never_sees_a_refused_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    path = tmp_path / "f.onnx"
    path.write_bytes(MODEL)
    monkeypatch.setattr("nip_runtime.session.providers.open_session", refuse)
    with pytest.raises(ArtifactError):
        DefendedSession(path)


def test_what_onnxruntime_refuses_is_one_error(tmp_path: Path) -> None:
    """Values whose shapes do not fit pass our checks and fail in onnxruntime."""
    model = graph_bytes(extra_nodes=[encode_node("MatMul", ["bias", "mean"], ["nothing"])])
    path = tmp_path / "f.onnx"
    path.write_bytes(with_manifest(model, manifest_for(model)))
    with pytest.raises(ArtifactError, match=r"expected a model that onnxruntime can run .*MatMul") as caught:
        DefendedSession(path, device="cpu")
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)
