"""A file is there whole and verified, or the old one is."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from nip_export import export_defended, pipeline
from nip_export.attach import assemble
from nip_export.defence.spec import DefenceSpec
from nip_export.write import describe as description
from nip_runtime.errors import ArtifactError, ExportError
from nip_runtime.file.container import read_container
from nip_runtime.session import DefendedSession
from tests.export.made import Made, Workshop, run
from tests.export.networks import net

OLD = b"what stood here before"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(OLD)
    return path


def export(mlp: Made, path: Path, **options: Any) -> Any:
    images, labels = mlp.net.split("calibration", 500)
    config = options.pop("config", mlp.net.config(ascent_steps=1))
    return export_defended(mlp.model, images, labels, path, config=config, **options)


def assert_untouched(target: Path) -> None:
    assert target.read_bytes() == OLD
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_a_graph_that_computes_something_else_is_not_written(
    mlp: Made, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = assemble.attach_defence

    def attach_another(backbone: Any, spec: DefenceSpec, taps: Any) -> Any:
        first, *others = spec.readouts
        return attach(
            backbone, replace(spec, readouts=(replace(first, bias=first.bias[::-1]), *others)), taps
        )

    monkeypatch.setattr(pipeline, "attach_defence", attach_another)
    with pytest.raises(ExportError, match=r"differs from the numpy oracle .* No file was written"):
        export(mlp, target)
    assert_untouched(target)


def test_a_file_that_the_runtime_refuses_is_not_written(
    mlp: Made, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = description.describe

    def describe_wrongly(*arguments: Any) -> Any:
        manifest = describe(*arguments)
        return replace(manifest, digests=replace(manifest.digests, graph="sha256:" + "0" * 64))

    monkeypatch.setattr(pipeline, "describe", describe_wrongly)
    with pytest.raises(ArtifactError, match="graph digest"):
        export(mlp, target)
    assert_untouched(target)


@pytest.mark.parametrize("which", [1, 2], ids=["graph", "manifest"])
def test_a_full_disk_leaves_the_old_file(
    mlp: Made, target: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    write, calls = Path.write_bytes, []

    def write_some(self: Path, data: bytes) -> int:
        calls.append(self)
        if len(calls) < which:
            return write(self, data)
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(ExportError, match=r"cannot write .*model\.onnx: No space .*old file is as it was"):
        export(mlp, target)
    assert len(calls) == which
    assert_untouched(target)


def test_an_interrupt_during_verification_leaves_the_old_file(
    mlp: Made, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        assert len(list(target.parent.iterdir())) == 2, "the new file is there, under another name"
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "verify_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(mlp, target)
    assert_untouched(target)


@pytest.mark.parametrize("field", ["path", "plain_path"])
def test_a_place_that_cannot_be_written_is_named_before_any_work(mlp: Made, target: Path, field: str) -> None:
    def refuse(title: str, total: int) -> Any:
        raise AssertionError(f"started {title}")

    missing = target.parent / "missing" / "model.onnx"
    for place, message in ((missing, "cannot write to the folder"), (target.parent, "expected a file")):
        places = {"path": target, field: place}
        with pytest.raises(ExportError, match=message):
            export(mlp, places["path"], plain_path=places.get("plain_path"), progress=refuse)
    assert_untouched(target)


def test_the_new_file_takes_the_place_of_the_old(mlp: Made, target: Path) -> None:
    report = export(mlp, target, plain_path=target.with_name("plain.onnx"))
    assert sorted(entry.name for entry in target.parent.iterdir()) == ["model.onnx", "plain.onnx"]
    assert report.size_bytes == target.stat().st_size
    assert report.plain_size_bytes == target.with_name("plain.onnx").stat().st_size
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    with DefendedSession(target, device="cpu") as session:
        assert session.manifest == report.manifest


def test_the_same_seed_gives_the_same_graph(mlp: Made, workshop: Workshop, tmp_path: Path) -> None:
    graphs = []
    for number, (seed, steps) in enumerate([(5, 2), (5, 2), (6, 2)]):
        path = tmp_path / f"{number}.onnx"
        images, labels = mlp.net.split("calibration", 500)
        export_defended(
            workshop.trained("mlp"),
            images,
            labels,
            path,
            config=mlp.net.config(seed=seed, ascent_steps=steps),
        )
        graphs.append(read_container(path).graph_digest)
    assert graphs[0] == graphs[1] != graphs[2]


def test_names_can_be_those_of_the_file_to_replace(mlp: Made, tmp_path: Path) -> None:
    path = tmp_path / "drop-in.onnx"
    export(mlp, path, config=mlp.net.config(ascent_steps=1, input_name="pixels", output_name="scores"))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["pixels"]
    assert session.get_outputs()[0].name == "scores"
    answers = run(session, mlp.inputs)
    np.testing.assert_array_equal(answers["nip_raw_logits"], mlp.answers["nip_raw_logits"])
    with DefendedSession(path, device="cpu", threads=1) as front:
        assert (front.manifest.input.name, front.manifest.output.name) == ("pixels", "scores")
        np.testing.assert_array_equal(front.predict(mlp.inputs).logits, answers["scores"])


def test_without_calibration_images_a_stratified_share_is_held_out(mlp: Made, tmp_path: Path) -> None:
    images, labels = mlp.net.split("calibration", 700)
    report = export_defended(
        mlp.model,
        images,
        labels,
        tmp_path / "m.onnx",
        config=mlp.net.config(ascent_steps=1, calibration_fraction=0.3),
    )
    held_out = sum(round(0.3 * count) for count in np.bincount(labels))
    assert report.manifest.calibration.images == held_out
    digests = report.manifest.digests
    assert digests.profile_data != digests.calibration_data
    assert report.manifest.calibration.accuracy_raw.n == held_out


def test_pixels_and_floats_give_the_same_defence(workshop: Workshop, tmp_path: Path) -> None:
    case, model = net("tiny"), workshop.trained("tiny")
    images, labels = case.split("calibration", 500)
    floats = case.inputs(images.astype(np.uint8))
    digests = []
    for number, form in enumerate((images, images[..., None], floats)):
        path = tmp_path / f"{number}.onnx"
        export_defended(model, form, labels.tolist(), path, config=case.config(ascent_steps=1))
        digests.append(read_container(path).graph_digest)
    assert len(set(digests)) == 1
