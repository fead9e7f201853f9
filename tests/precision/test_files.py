"""What stands in converted files, and what onnxruntime makes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from nip_export.attach.writing import serialise
from nip_export.fit.conversion import range_inputs
from nip_export.precision import convert_backbone
from nip_export.write.report import ExportReport
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import Precision, read_manifest
from tests.precision.made import Made, make, open_session


def weights(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def of_backbone(graph: onnx.GraphProto) -> list[np.ndarray]:
    return [array for name, array in weights(graph).items() if not name.startswith("nip/")]


def test_files_shrink_by_what_the_precision_promises(fp32: Made, fp16: Made, int8: Made) -> None:
    sizes = {made.report.manifest.precision: made.report.plain_size_bytes for made in (fp32, fp16, int8)}
    assert sizes[Precision.FP16] < 0.55 * sizes[Precision.FP32]
    assert sizes[Precision.INT8] < 0.33 * sizes[Precision.FP32]
    for made in (fp32, fp16, int8):
        assert made.path.stat().st_size == made.report.size_bytes < made.report.plain_size_bytes + 90_000


def test_weights_stand_once(converted: Made) -> None:
    plain = onnx.load(str(converted.plain)).graph
    ours, theirs = of_backbone(converted.graph), of_backbone(plain)
    assert sum(array.nbytes for array in ours) <= sum(array.nbytes for array in theirs) + 256
    large = [array.tobytes() for array in weights(converted.graph).values() if array.nbytes > 256]
    assert len(set(large)) == len(large)


def test_files_stay_within_the_profile(converted: Made) -> None:
    model = onnx.load(str(converted.path))
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 17)}
    assert model.ir_version == 8
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    onnx.checker.check_model(model, full_check=True)
    manifest = read_artifact(converted.path).manifest
    assert manifest == converted.report.manifest == read_manifest(manifest.to_json())
    assert manifest.precision == converted.prepared.bench.config.precision
    assert manifest.settings is not None
    assert (manifest.settings.ascent_steps, manifest.settings.screen_rate) == (3, 0.4)
    assert "CPU provider" in manifest.known_limits[-1]


def test_int8_weights_have_a_scale_per_channel_and_leave_a_bit_unused(int8: Made) -> None:
    held = weights(int8.graph)
    kernels = {name: array for name, array in held.items() if array.dtype == np.int8 and array.ndim == 4}
    kernels.pop("nip/bank", None)
    assert len(kernels) == 6
    for name, kernel in kernels.items():
        assert np.abs(kernel.astype(int)).max() == 64, name
        (reader,) = [node for node in int8.graph.node if name in node.input]
        assert reader.op_type == "DequantizeLinear"
        assert held[reader.input[1]].shape == (len(kernel),)
    assert not [array for array in of_backbone(int8.graph) if array.dtype == np.float32 and array.size > 256]


def test_both_copies_run_on_int8_kernels(int8: Made, tmp_path: Path) -> None:
    counts = {}
    for name, path in (("plain", int8.plain), ("defended", int8.path)):
        open_session(path, tmp_path / f"{name}.onnx")
        counts[name] = Counter(node.op_type for node in onnx.load(str(tmp_path / f"{name}.onnx")).graph.node)
    assert (counts["plain"]["QLinearConv"], counts["defended"]["QLinearConv"]) == (6, 12)
    assert (counts["plain"]["QGemm"], counts["defended"]["QGemm"]) == (2, 4)
    assert "Conv" not in counts["defended"], "a convolution runs in float"


def test_fp16_rounds_no_pixel(fp16: Made) -> None:
    readers = [node for node in fp16.graph.node if "input" in node.input]
    assert {node.op_type for node in readers} == {"Sub", "Gather"}
    halves = [array for array in of_backbone(fp16.graph) if array.dtype == np.float16]
    assert sum(array.size for array in halves) > 140_000
    assert not [array for array in of_backbone(fp16.graph) if array.dtype == np.float32 and array.size > 16]


def test_converting_twice_gives_the_same_bytes(converted: Made) -> None:
    prepared = converted.prepared
    original = prepared.bench.trial.backbone
    precision, inputs = converted.report.manifest.precision, range_inputs(prepared.bench, prepared.rho)
    assert prepared.conversion is not None
    again = convert_backbone(original, precision, inputs)
    assert serialise(again.model) == serialise(prepared.conversion.backbone.model)


def test_every_input_may_be_perturbed_in_int8(tmp_path: Path) -> None:
    report = make("int8", tmp_path, few=True, policy="always").report
    assert report.manifest.policy == "always"
    assert report.comparison.argmax_agreement == 1
    told = summary_of(report)
    assert "int8; same class as fp32 for" in told["precision"]
    assert "numpy" not in told and "torch" not in told


def summary_of(report: ExportReport) -> dict[str, str]:
    return {line[:16].strip(): line[16:].strip() for line in report.summary().splitlines()}
