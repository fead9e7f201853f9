"""`nip export --onnx` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from nip_runtime.cli.main import main
from nip_runtime.session import DefendedSession
from tests.onnx_in.made import Form, answers, bars, classifier

pytest.importorskip("onnx2fx", reason="the extra onnx-in is not installed")

Capture = pytest.CaptureFixture[str]
QUICK = ["--view", "mirror", "--policy", "detect", "--benign-budget", "0.1", "--batch-size", "32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes (N, H, W, 3) of any size and ends in softmax, and a folder of pictures per class."""
    folder = tmp_path_factory.mktemp("user")
    form = Form(opset=11, channels_last=True, open_size=True, ending="Softmax")
    onnx.save(classifier(form), folder / "plain.onnx")
    for name, count, seed in (("benign", 240, 2), ("unseen", 24, 6)):
        for row, (image, label) in enumerate(zip(*bars(count, seed=seed), strict=True)):
            (folder / name / f"{label}").mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / name / f"{label}" / f"{row:03}.png"), image[..., ::-1])
    return folder


def test_a_file_and_a_folder_make_a_defended_file(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.nip.onnx"
    arguments = ["export", "--onnx", str(folder / "plain.onnx"), "--data", str(folder / "benign")]
    assert main([*arguments, "--size", "10x10", "--out", str(out), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "the network is that of plain.onnx (opset 11)" in said and "verified" in said
    images, labels = bars(30, seed=4)
    form = Form(opset=11, channels_last=True, open_size=True, ending="Softmax")
    wanted = answers((folder / "plain.onnx").read_bytes(), form, images)
    with DefendedSession(out, device="cpu") as session:
        found = session.predict(images)
        assert session.manifest.input.name == "pixels", "callers find the names that they know"
    assert np.array_equal(found.labels, wanted.argmax(1)) and (found.labels == labels).mean() > 0.9


def test_blue_first(folder: Path, tmp_path: Path) -> None:
    """The same file told that it takes blue first answers pictures as it would their mirror in colour."""
    out = tmp_path / "bgr.nip.onnx"
    arguments = ["export", "--onnx", str(folder / "plain.onnx"), "--data", str(folder / "benign"), "--bgr"]
    assert main([*arguments, "--unlabelled", "--size", "10x10", "--out", str(out), *QUICK]) == 0
    images, _ = bars(30, seed=4)
    form = Form(opset=11, channels_last=True, open_size=True, ending="Softmax")
    wanted = answers((folder / "plain.onnx").read_bytes(), form, np.ascontiguousarray(images[..., ::-1]))
    with DefendedSession(out, device="cpu") as session:
        logits = session.predict(images).raw_logits.astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(powers / powers.sum(1, keepdims=True) - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--onnx", "plain.onnx", "--model", "a:b"], "not allowed with argument --onnx"),
        ([], "one of the arguments --model --onnx is required"),
    ],
)
def test_one_network_is_named(more: list[str], message: str, capsys: Capture) -> None:
    assert main(["export", *more, "--data", "benign", "--out", "out.onnx"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--onnx", "plain.onnx", "--weights", "w.safetensors"], "an ONNX file holds its own weights"),
        (["--model", "tests.models:SmallVgg", "--bgr"], "--bgr goes with --onnx"),
        (["--onnx", "plain.onnx"], "leaves the size of its input open: (3, ?, ?)"),
    ],
)
def test_what_does_not_go_together_is_refused_before_images_are_read(
    folder: Path, more: list[str], message: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["export", *more, "--data", "not-there", "--out", "out.onnx"]) != 0
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_evaluation_takes_the_same_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nip.onnx"
    given = ["--onnx", str(folder / "plain.onnx"), "--data"]
    assert main(["export", *given, str(folder / "benign"), "--size", "10x10", "--out", str(out), *QUICK]) == 0
    report = tmp_path / "evaluation"
    arguments = ["evaluate", str(out), *given, str(folder / "unseen"), "--out", str(report)]
    arguments += ["--images", "12", "--quick"]
    assert main([*arguments, "--threat", "t1", "--attacks", "FGSM"]) == 0
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert [attack["family"] for attack in found["attacks"]] == ["FGSM"] * len(found["attacks"])
    assert found["attacks"][0]["undefended"]["n"] == 12
