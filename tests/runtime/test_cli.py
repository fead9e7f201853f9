from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nip_runtime import __version__
from nip_runtime.cli.main import main
from nip_runtime.cli.predict import _batches
from nip_runtime.cli.predict_text import Progress
from nip_runtime.session import DefendedSession
from tests.runtime.toy import graph_bytes, manifest_for, random_images

cv2: Any = pytest.importorskip("cv2")
ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images (one of them in a subfolder) and an array of five."""
    images = (random_images(3)[:, 0] * 255).astype(np.uint8)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, image in zip(("a.png", "b.png", "deep/c.png"), images, strict=True):
        assert cv2.imwrite(str(tmp_path / "in" / name), image)
    np.save(tmp_path / "in" / "z.npy", random_images(5))
    return tmp_path / "in"


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_predict_prints_one_json_object_per_input(
    toy: DefendedSession, folder: Path, capsys: Capture
) -> None:
    assert main(["predict", str(toy.path), str(folder), "--json"]) == 0
    rows = _json_lines(capsys.readouterr().out)
    assert [(Path(row["file"]).name, row["index"]) for row in rows] == [
        ("a.png", None),
        ("b.png", None),
        ("c.png", None),
        *(("z.npy", index) for index in range(5)),
    ]
    expected = toy.predict(random_images(5))
    names = toy.manifest.output.class_names
    assert names is not None
    for index, row in enumerate(rows[3:]):
        assert row["label"] == expected.labels[index]
        assert row["label_name"] == names[row["label"]]
        assert row["raw_label"] == expected.raw_labels[index]
        assert row["candidate"] == expected.candidate[index]
        assert row["suspicion"] == expected.suspicion[index]
        assert row["flagged"] is bool(expected.flagged[index])
        assert row["reason"] == expected.reason[index]
        assert row["logits"] == expected.logits[index].tolist()


@pytest.mark.parametrize("batch", ["1", "2", "64"])
def test_predict_gives_the_same_for_every_batch_size(
    toy_path: Path, folder: Path, capsys: Capture, batch: str
) -> None:
    assert main(["predict", str(toy_path), str(folder), "--json"]) == 0
    expected = capsys.readouterr().out
    assert main(["predict", str(toy_path), str(folder), "--json", "--batch", batch, "--device", "cpu"]) == 0
    assert capsys.readouterr().out == expected


def test_unreadable_files_are_reported_as_they_are_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(7)]
    spec = manifest_for(graph_bytes()).input
    batches = list(_batches(files, spec, 3))
    assert [(len(batch.entries), batch.images, batch.files_done) for batch in batches] == [
        (3, None, 3),
        (3, None, 6),
        (1, None, 7),
    ]


def test_predict_prints_a_table(toy_path: Path, folder: Path, capsys: Capture) -> None:
    assert main(["predict", str(toy_path), str(folder)]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["file", "label", "raw", "suspicion", "flagged", "candidate", "reason"]
    assert len(rows) == 8
    assert rows[3].split()[0] == f"{folder / 'z.npy'}[0]"
    assert {row.index(row.split()[1]) for row in rows} == {header.index("label")}, "columns are aligned"
    assert rows[3].split()[1] in ("shirt", "bag", "boot")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("command", ["inspect", "predict", "doctor"])
def test_answers_that_find_no_room_are_one_sentence(toy_path: Path, folder: Path, command: str) -> None:
    arguments = {"inspect": [toy_path], "predict": [toy_path, folder], "doctor": []}[command]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nip_runtime.cli.main", command, *map(str, arguments)],
            stdout=full,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "nip: error: cannot write: No space left on device; make room, or write elsewhere\n",
    )


def test_predict_reports_an_unreadable_input_and_goes_on(
    toy_path: Path, folder: Path, capsys: Capture
) -> None:
    (folder / "aa.png").write_bytes(b"not an image")
    np.save(folder / "y.npy", np.full((2, 1, 4, 4), np.nan, np.float32))
    assert main(["predict", str(toy_path), str(folder), "--json"]) == 1
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert len(errors) == 3
    assert errors[0].startswith(f"nip: error: expected an image at {folder / 'aa.png'}, got")
    assert errors[0].count("aa.png") == 1
    for row in (0, 1):
        assert errors[1 + row].startswith(f"nip: error: {folder / 'y.npy'}[{row}]: expected uint8")
        assert errors[1 + row].endswith("got NaN; drop or repair such rows first")
    rows = _json_lines(captured.out)
    order = [(Path(row["file"]).name, row["index"], "error" in row) for row in rows]
    assert order[:3] == [("a.png", None, False), ("aa.png", None, True), ("b.png", None, False)]
    assert order[4:6] == [("y.npy", 0, True), ("y.npy", 1, True)]
    assert sum("error" in row for row in rows) == 3
    assert sum("label" in row for row in rows) == 8
    assert main(["predict", str(toy_path), str(folder)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda toy, tmp: ["predict", toy, tmp / "none.png"], "expected a file or folder at"),
        (lambda toy, tmp: ["predict", toy, tmp], "expected images, .npy or .npz in folder"),
        (lambda toy, tmp: ["predict", tmp / "none.onnx", toy], "expected an ONNX file at"),
        (
            lambda toy, tmp: ["predict", toy, toy, "--device", "gpu"],
            "expected device auto, cpu, cuda or cuda:N",
        ),
        (lambda toy, tmp: ["predict", toy, toy, "--batch", "0"], "expected --batch of at least 1, got 0"),
        (lambda toy, tmp: ["predict", toy, toy, "--batch", "many"], "argument --batch: invalid int value"),
        (lambda toy, tmp: ["predict", toy], "the following arguments are required: INPUT"),
        (lambda toy, tmp: ["predict", toy, toy, "--jsn"], "unrecognized arguments: --jsn"),
        (lambda toy, tmp: ["divine", toy], "invalid choice: 'divine'"),
        (lambda toy, tmp: ["inspect", tmp / "none.onnx"], "expected an ONNX file at"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    toy_path: Path,
    tmp_path: Path,
    capsys: Capture,
    arguments: Callable[[Path, Path], list[Path | str]],
    message: str,
) -> None:
    assert main([str(argument) for argument in arguments(toy_path, tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("nip: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_traceback_only_on_request(tmp_path: Path, capsys: Capture) -> None:
    for flags in (["--traceback"], ["-v"]):
        assert main(["inspect", str(tmp_path / "none.onnx"), *flags]) == 2
        error = capsys.readouterr().err
        assert "Traceback (most recent call last)" in error
        assert error.splitlines()[-1].startswith("nip: error: ")


def test_doctor_runs_the_cpu(capsys: Capture) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "CPUExecutionProvider        works" in text
    assert f"nip-runtime {__version__}" in text


def test_doctor_as_json(capsys: Capture) -> None:
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    checks = {check["provider"]: check for check in document["checks"]}
    assert checks["CPUExecutionProvider"]["works"] is True
    cuda = checks["CUDAExecutionProvider"]
    assert cuda["works"] or (cuda["problem"] and cuda["cure"])
    assert {package["name"] for package in document["packages"]} >= {"numpy", "torch"}


def test_doctor_without_onnxruntime_says_how_to_get_it(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["doctor"]) == 1
    assert 'pip install "nip-runtime[cpu]" or pip install "nip-runtime[gpu]"' in capsys.readouterr().out


def test_doctor_sees_two_builds_that_overwrite_each_other(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nip_runtime.cli.doctor.version", lambda name: "1.2.3")
    assert main(["doctor"]) == 0
    assert (
        "all installed and overwrite each other: pip uninstall onnxruntime onnxruntime-gpu"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("command", ["predict", "inspect", "doctor"])
def test_help_teaches_with_an_example(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert f"  nip {command}" in text
    assert "example" in text
    assert "exit code: 0" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_version_is_told_without_looking_for_commands(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> dict[str, object]:
        raise AssertionError("commands were looked for")

    monkeypatch.setattr("nip_runtime.cli.main.find_commands", refuse)
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"nip-runtime {__version__}\n"


def test_version_and_bare_call(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"nip-runtime {__version__}\n"
    assert main([]) == 2
    assert "predict" in capsys.readouterr().err


class _Terminal:
    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_shows_on_a_terminal_and_leaves_nothing_behind() -> None:
    terminal = _Terminal()
    progress = Progress(1000, terminal)  # type: ignore[arg-type]
    progress.update(10)
    progress.update(11)  # too soon to redraw
    progress.clear()
    assert terminal.text == "\r10/1000 files\r\033[K"


@pytest.mark.skipif(shutil.which("head") is None, reason="needs head")
def test_a_reader_that_stops_early_causes_no_traceback(toy_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", random_images(5000))
    command = [
        sys.executable,
        "-m",
        "nip_runtime.cli.main",
        "predict",
        str(toy_path),
        str(tmp_path / "many.npy"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141
