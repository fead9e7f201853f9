"""Whatever layers a network has, its file answers batches of which 0, 1 or 3 rows take the second pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.speed.files import seeded_bench, seeded_known, seeded_prepared
from nip_export import ExportConfig, ExportReport
from nip_export.attach.writing import graph_digest
from nip_export.network.run import Passed, TapCells, run_network
from nip_export.pipeline import write_defended
from nip_export.verify.oracle import both_passes, judged
from nip_export.verify.tolerance import on_the_edge
from nip_runtime.errors import ArtifactError
from nip_runtime.file import names
from nip_runtime.file.container import encode_metadata_entry
from nip_runtime.file.manifest import Policy, ViewStep
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.fused import FusedEngine
from nip_runtime.run.engine.gated import GatedEngine
from nip_runtime.run.runners import HostRunner
from nip_runtime.session import DefendedSession
from tests.export.patterns import CHANNELS, CLASSES, PATTERNS, SIZE, make

IMAGES = 56
"""As few as a benign budget of 5 % can be shown to be kept with."""
ROWS = 5
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Written:
    """A file, its export and the images that it was made with."""

    path: Path
    report: ExportReport
    images: Floats


def write(name: str, path: Path, **settings: Any) -> Written:
    """A file around an untrained network, with read-outs and perturbations drawn by lot."""
    random = np.random.default_rng(0)
    images = random.random((IMAGES, CHANNELS, SIZE, SIZE), np.float32)
    config = ExportConfig(benign_budget=0.05, batch_size=64, top_k=2, force=True, **settings)
    model = make(name)
    bench = seeded_bench(model, images, config)
    known = seeded_known(bench, bench.early_grids[0], random)
    view = () if config.policy is Policy.ALWAYS else (ViewStep.SHIFT,)
    prepared = seeded_prepared(model, bench, known, view, random)
    return Written(path, write_defended(prepared, path), images)


def opener(model: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def engines(content: bytes, report: ExportReport) -> list[Any]:
    """Both, around bytes that need not be those of the file."""
    runner, manifest = HostRunner(), report.manifest
    return [
        FusedEngine(content, manifest, open_session=opener, runner=runner),
        GatedEngine(Sliceable(content), manifest, open_backbone=opener, open_heads=opener, runner=runner),
    ]


def assert_answers_rows(written: Written) -> None:
    """Both engines answer as the oracle does, whether 0, 1, 3 or all of some rows take the second pass."""
    report, images = written.report, written.images[:ROWS]
    content, spec = written.path.read_bytes(), report.spec
    grids = [TapCells(report.plan.tap(readout.tap), readout.cells) for readout in spec.readouts]
    grids.append(TapCells(report.plan.tap(spec.typicality.tap), 1))

    def forward(inputs: Floats) -> Passed:
        return run_network(report.network, inputs, grids, batch_size=64, device=torch.device("cpu"))

    passes = both_passes(spec, forward, images)
    seen = np.sort(judged(spec, passes).reading.sight)
    for sent_on in (0, 1, 3, ROWS):
        between = np.concatenate([[seen[0] - 1], (seen[1:] + seen[:-1]) / 2, [seen[-1] + 1]])
        cut = np.float32(between[ROWS - sent_on])
        # Rows that take the second pass are flagged: what is put back is another answer.
        gate = replace(spec.gate, screen_threshold=float(cut), flag_threshold=-1e9)
        moved = Sliceable(content).with_constant(names.SCREEN_THRESHOLD, np.array(cut))
        moved = Sliceable(moved).with_constant(
            names.FLAG_THRESHOLD, np.array(gate.flag_threshold, np.float32)
        )
        expected = judged(replace(spec, gate=gate), passes)
        assert expected.reading.screened.sum() == sent_on
        sure = ~on_the_edge(replace(spec, gate=gate), expected)
        assert sure.sum() >= ROWS - 2
        for engine in engines(moved, report):
            got = engine.run(images)
            np.testing.assert_array_equal(got.flagged[sure], expected.reading.flagged[sure])
            np.testing.assert_array_equal(got.candidate[sure], expected.decision.candidate[sure])
            np.testing.assert_allclose(got.suspicion[sure], expected.reading.suspicion[sure], atol=1e-2)
            np.testing.assert_allclose(got.raw_logits, expected.raw, atol=1e-4, rtol=1e-4)
            np.testing.assert_allclose(got.logits[sure], expected.decision.logits[sure], atol=2e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """The file of every pattern, made when it is first asked for."""
    made: dict[str, Written] = {}
    folder = tmp_path_factory.mktemp("patterns")

    def file(name: str) -> Written:
        if name not in made:
            made[name] = write(name, folder / f"{name}.nip.onnx")
        return made[name]

    return file


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_is_answered_with_no_one_and_three_rows_sent_on(
    files: Callable[[str], Written], name: str
) -> None:
    written = files(name)
    told = written.report.manifest.second_pass
    assert told is not None and told.compared >= 3
    assert told.padding_row is PATTERNS[name][1]
    assert_answers_rows(written)
    with DefendedSession(written.path, device="cpu") as session:
        assert session.predict(written.images[:0]).logits.shape == (0, CLASSES)
        assert len(session.predict(written.images[:3]).labels) == 3
        if told.padding_row:
            assert session.engine == "gated" and "in every batch" in session.engine_why
    summary = written.report.summary()
    assert f"corrected answer of {told.compared} rows" in summary
    assert ("padding row" in summary) is told.padding_row


def edited(
    written: Written,
    path: Path,
    graph: Callable[[onnx.GraphProto], None] = lambda graph: None,
    manifest: Callable[[dict[str, Any]], object] = lambda manifest: None,
) -> Path:
    """A file whose graph and manifest were changed by somebody who knows about digests."""
    model = onnx.load(str(written.path))
    document = json.loads(next(each.value for each in model.metadata_props if each.key == names.MANIFEST_KEY))
    del model.metadata_props[:]
    graph(model.graph)
    content = model.SerializeToString()
    document["digests"]["graph"] = graph_digest(content)
    manifest(document)
    path.write_bytes(content + encode_metadata_entry(names.MANIFEST_KEY, json.dumps(document)))
    return path


def producer(graph: onnx.GraphProto, value: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in graph.node if value in node.output)
    return found


def without_padding(graph: onnx.GraphProto) -> None:
    """The rows as the screen picks them, as earlier versions wrote them."""
    cut = producer(graph, names.ROWS)
    joined, counted = producer(graph, cut.input[0]), producer(graph, cut.input[2])
    measured, picked = producer(graph, counted.input[0]), producer(graph, joined.input[0])
    for node in (cut, joined, counted, measured):
        graph.node.remove(node)
    picked.output[0] = names.ROWS


def as_1_3(manifest: dict[str, Any]) -> None:
    manifest["schema_version"] = "1.3"
    del manifest["second_pass"]


@pytest.mark.parametrize(
    ("name", "operator"), [("bilinear", "Einsum"), ("lstm", "LSTM"), ("batch_in_the_middle", "MatMul")]
)
def test_a_file_whose_operators_may_end_the_process_runs_gated_or_not_at_all(
    files: Callable[[str], Written], name: str, operator: str, tmp_path: Path
) -> None:
    written = files(name)
    path = edited(written, tmp_path / "elsewhere.onnx", without_padding, as_1_3)
    with pytest.raises(ArtifactError, match=f"got one with {operator}, .*; take engine gated"):
        DefendedSession(path, device="cpu", engine="fused")
    with DefendedSession(path, device="cpu") as session, DefendedSession(written.path, device="cpu") as own:
        assert session.engine == "gated" and operator in session.engine_why
        np.testing.assert_array_equal(
            session.predict(written.images).logits, own.predict(written.images).logits
        )


def padding(told: bool) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["second_pass"]["padding_row"] = told

    return change


def at_least_none(graph: onnx.GraphProto) -> None:
    """A padding row in name: the rows are cut to at least 0."""
    least = producer(graph, producer(graph, names.ROWS).input[2]).input[1]
    tensor = next(each for each in graph.initializer if each.name == least)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([0], np.int64), least))


def another_row(graph: onnx.GraphProto) -> None:
    cut = producer(graph, names.ROWS)
    producer(graph, cut.input[0]).input[1] = "another"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "another"))


def doubled(graph: onnx.GraphProto) -> None:
    """More rows than the screen picks: as many again."""
    joined = producer(graph, producer(graph, names.ROWS).input[0])
    joined.input[1] = joined.input[0]


@pytest.mark.parametrize(
    ("graph", "manifest", "expected"),
    [
        (None, padding(False), "the rows that the screen picks, and no other"),
        (without_padding, padding(True), "or the first where it picks none"),
        (at_least_none, padding(True), "or the first where it picks none"),
        (another_row, padding(True), "or the first where it picks none"),
        (doubled, padding(True), "or the first where it picks none"),
    ],
)
def test_rows_other_than_the_manifest_has_them_are_refused(
    files: Callable[[str], Written],
    graph: Callable[[onnx.GraphProto], None] | None,
    manifest: Callable[[dict[str, Any]], None],
    expected: str,
    tmp_path: Path,
) -> None:
    path = edited(files("bilinear"), tmp_path / "m.onnx", graph or (lambda graph: None), manifest)
    with pytest.raises(ArtifactError, match=f"expected a second pass on .*{expected}, got nip/rows as"):
        DefendedSession(path, device="cpu")


def test_a_padding_row_can_be_asked_for(tmp_path: Path) -> None:
    """For engines that can't run what onnxruntime can; detect has no corrected answer to put back."""
    written = write("plain", tmp_path / "m.nip.onnx", padding_row="always", policy="detect")
    told = written.report.manifest.second_pass
    assert told is not None and told.padding_row
    assert_answers_rows(written)


def test_a_padding_row_changes_no_bit_of_an_answer(files: Callable[[str], Written], tmp_path: Path) -> None:
    """Neither where it is the row itself, nor among others that the screen picks."""
    first = files("plain")
    second = write("plain", tmp_path / "m.nip.onnx", padding_row="always")
    plain, padded = (opener(written.path.read_bytes()) for written in (first, second))
    picks = opener(Sliceable(first.path.read_bytes()).part(["input"], [names.ROWS]))
    picked = set()
    for batch in (first.images, *np.split(first.images, IMAGES)):
        picked.add(len(picks.run(None, {"input": batch})[0]))
        for before, after in zip(
            *(each.run(None, {"input": batch}) for each in (plain, padded)), strict=True
        ):
            assert before.tobytes() == after.tobytes()
    assert {0, 1} < picked


def test_policy_always_gives_every_row_a_second_pass(tmp_path: Path) -> None:
    written = write("einsum_attention", tmp_path / "m.nip.onnx", padding_row="always", policy="always")
    told = written.report.manifest.second_pass
    assert told is not None and not told.padding_row and told.compared >= 3
    with DefendedSession(written.path, device="cpu", engine="fused") as session:
        assert len(session.predict(written.images[:1]).labels) == 1
