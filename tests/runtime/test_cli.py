from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nip_runtime import __version__
from nip_runtime.cli import commands
from nip_runtime.cli.main import main
from nip_runtime.cli.predict import _batches
from nip_runtime.cli.predict_text import Progress
from nip_runtime.session import DefendedSession
from tests.runtime.toy import graph_bytes, manifest_for, random_images, with_manifest

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


def test_predict_reports_an_unreadable_input_and_goes_on(
    toy_path: Path, folder: Path, capsys: Capture
) -> None:
    (folder / "aa.png").write_bytes(b"not an image")
    np.save(folder / "y.npy", np.full((2, 1, 4, 4), np.nan, np.float32))
    assert main(["predict", str(toy_path), str(folder), "--json"]) == 1
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert len(errors) == 3
    assert errors[0].startswith(f"nip: error: {folder / 'aa.png'}: expected an image")
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
        (lambda toy, tmp: ["predict", toy, toy, "--batch", "0"], "expected max_batch of at least 1"),
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


def test_inspect_shows_a_defended_file(toy_path: Path, capsys: Capture) -> None:
    assert main(["inspect", str(toy_path)]) == 0
    text = capsys.readouterr().out
    for part in (
        "policy guarded",
        "matches the manifest",
        "output        nip_suspicion: float32 (N)",
        "MatMul 4",
        "standard 17",
        "3: shirt, bag, boot",
        "1.8% [1.2%, 2.6%] (27/1500)",
        "known limit   figures of a toy",
        "bank          1 inverse perturbations, 16 B (int8)",
        "gate          disagreement, typicality, response, change; screen at none, flag at 0.5",
        "second view   mirror+rho\n",
        "typicality    layer flatten, 3 class centres in 16 directions",
        "answer        shifts and 0.5 of the early evidence",
        "view tried  mirror+blur: keeps 96.7% [94.0%, 98.2%] (290/300), tells own mistakes 0.70,"
        " repairs 30.0% [21.9%, 39.6%] (30/100), moves 0.25\n",
        "view tried  mirror+rho: keeps 99.7% [98.1%, 99.9%] (299/300), tells own mistakes 0.75,"
        " repairs none (none made), moves 0.20\n",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "view", "bank"),
    [
        ("mirror-median", "mirror+median", "none: the second view adds no inverse perturbation"),
        ("blur-gain-bits-rho", "blur+gain+bits+rho", "1 inverse perturbations, 784 B (int8)"),
        ("guarded-1.2", "rho", "1 inverse perturbations, 784 B (int8)"),
    ],
)
def test_inspect_tells_how_the_second_pass_looks(name: str, view: str, bank: str, capsys: Capture) -> None:
    path = ROOT / "tests" / "goldens" / f"{name}.onnx"
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"second view   {view}" in lines
    assert f"bank          {bank}" in lines
    assert main(["inspect", str(path), "--json"]) == 0
    gate = json.loads(capsys.readouterr().out)["manifest"]["gate"]
    if name.endswith("1.2"):
        assert gate is None
    else:
        assert "+".join([*gate["view"], *(["rho"] if gate["rho"] else [])]) == view


def test_inspect_as_json(toy_path: Path, capsys: Capture) -> None:
    assert main(["inspect", str(toy_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["size_bytes"] == toy_path.stat().st_size
    assert document["graph_digest_matches"] is True
    assert document["graph_digest"] == document["manifest"]["digests"]["graph"]
    assert document["problem"] is None
    assert document["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["N", 1, 4, 4]}]
    assert document["operators"]["MatMul"] == 4
    gate = document["manifest"]["gate"]
    assert (gate["view"], gate["rho"]) == (["mirror"], True)
    assert (gate["typicality_layer"], gate["centres"], gate["directions"]) == ("flatten", 3, 16)
    assert [(tried["view"], tried["repaired"] is None) for tried in gate["views_tried"]] == [
        (["mirror", "blur"], False),
        (["mirror"], True),
    ]


def test_inspect_of_a_plain_file_says_so(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(graph_bytes())
    assert main(["inspect", str(path)]) == 0
    assert "none: a plain ONNX model" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["manifest"], document["graph_digest_matches"]) == (None, None)


def test_inspect_of_a_changed_file_says_so(tmp_path: Path, capsys: Capture) -> None:
    model = graph_bytes()
    data = bytearray(with_manifest(model, manifest_for(model)))
    data[data.index(b"weights") + 100] ^= 1
    path = tmp_path / "changed.onnx"
    path.write_bytes(bytes(data))
    assert main(["inspect", str(path)]) == 2
    captured = capsys.readouterr()
    assert "DIFFERS FROM the manifest" in captured.out
    assert "the graph was changed after export" in captured.err
    assert main(["inspect", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["graph_digest_matches"] is False


def test_inspect_of_a_bad_manifest_still_shows_the_graph(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(with_manifest(graph_bytes(), '{"schema_version": "9.0"}'))
    assert main(["inspect", str(path)]) == 2
    captured = capsys.readouterr()
    assert "manifest      unreadable" in captured.out
    assert "expected major version 1" in captured.err


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


_PLUGIN = """
NAME = "greet"
HELP = "say hello"
def configure(parser):
    parser.add_argument("name")
def run(args):
    if args.name == "nobody":
        import no_such_module_anywhere.part
    if args.name == "bug":
        raise RuntimeError("two\\nlines")
    print("hello", args.name)
    return 7
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nip_test_greet.py").write_text(_PLUGIN)
    (tmp_path / "nip_test_broken.py").write_text("import torch_of_another_world")
    monkeypatch.syspath_prepend(tmp_path)
    entries = [
        EntryPoint("greet", "nip_test_greet", commands.GROUP),
        EntryPoint("broken", "nip_test_broken", commands.GROUP),
        EntryPoint("predict", "nip_test_greet", commands.GROUP),
    ]
    monkeypatch.setattr(commands, "entry_points", lambda group: entries if group == commands.GROUP else [])


@pytest.mark.usefixtures("plugins")
def test_added_commands_run_and_are_listed(capsys: Capture) -> None:
    assert main(["greet", "you"]) == 7
    assert capsys.readouterr().out == "hello you\n"
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert "say hello" in text
    assert "torch_of_another_world" in text


@pytest.mark.usefixtures("plugins")
def test_a_module_that_a_command_misses_is_one_line(capsys: Capture) -> None:
    for arguments in (["greet", "nobody"], ["broken"]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("nip: error: expected the package ")
        assert error.count("\n") == 1


@pytest.mark.usefixtures("plugins")
def test_a_bug_is_one_line_too(capsys: Capture) -> None:
    assert main(["greet", "bug"]) == 2
    assert capsys.readouterr().err == "nip: error: RuntimeError: two lines (--traceback shows where)\n"


@pytest.mark.usefixtures("plugins")
def test_added_commands_cannot_replace_built_in_ones(toy_path: Path, folder: Path, capsys: Capture) -> None:
    assert main(["predict", str(toy_path), str(folder)]) == 0
    assert "hello" not in capsys.readouterr().out


@pytest.mark.usefixtures("plugins")
def test_a_named_command_imports_no_other() -> None:
    sys.modules.pop("nip_test_greet", None)
    assert main(["doctor"]) == 0
    assert "nip_test_greet" not in sys.modules


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
