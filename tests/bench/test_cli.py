"""``nip bench`` as a user meets it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.cli.bench_text import report_lines
from nip_runtime.cli.main import main
from nip_runtime.cli.progress import Progress
from nip_runtime.operate.bench.memory import Opener
from nip_runtime.operate.bench.report import BenchReport, Contender, read_report
from tests.bench.conftest import GOLDENS
from tests.bench.test_report import report

Capture = pytest.CaptureFixture[str]
QUICK = ("--device", "cpu", "--threads", "1", "--rounds", "3", "--batch", "1,4")


def measure(capsys: Capture, *arguments: str | Path) -> BenchReport:
    assert main(["bench", *map(str, arguments), *QUICK, "--json", "-"]) == 0
    return read_report(capsys.readouterr().out)


def cells(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


@pytest.mark.parametrize("policy", ["guarded", "detect"])
def test_a_file_with_a_screen_is_timed_by_share(policy: str, capsys: Capture) -> None:
    path = GOLDENS / f"{policy}.onnx"
    found = measure(capsys, path, "--openings", "0", "--engine", "both", "--second-pass", "0,0.5,1")
    assert [(one.contender, one.batch, one.second_pass_rows) for one in found.timed] == [
        (Contender.PLAIN, 1, 0),
        *((Contender.FUSED, 1, rows) for rows in (0, 1)),
        *((Contender.GATED, 1, rows) for rows in (0, 1)),
        (Contender.PLAIN, 4, 0),
        *((Contender.FUSED, 4, rows) for rows in (0, 2, 4)),
        *((Contender.GATED, 4, rows) for rows in (0, 2, 4)),
    ]
    assert found.policy == policy
    assert found.has_screen
    assert found.file == str(path)
    assert found.file_bytes == path.stat().st_size
    assert (found.device, found.provider, found.threads) == ("cpu", "CPUExecutionProvider", 1)
    assert found.opened == ()


def test_a_file_without_a_screen_has_one_row_per_batch_size(always: Path, capsys: Capture) -> None:
    assert main(["bench", str(always), *QUICK, "--openings", "0", "--engine", "fused"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [cells(line) for line in lines if " fused " in line]
    assert [(row[0], row[2], row[9]) for row in rows] == [("1", "1 of 1", "2.00"), ("4", "4 of 4", "2.00")]
    assert "policy always has no screen here: every row takes both passes" in lines


def test_the_table_says_what_the_json_says(guarded: Path, tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "bench.json"
    arguments = ["bench", str(guarded), *QUICK, "--engine", "fused", "--openings", "1"]
    assert main([*arguments, "--json", str(target)]) == 0
    printed = capsys.readouterr()
    found = read_report(target.read_text(encoding="utf-8"))
    assert list(tmp_path.iterdir()) == [target]
    lines = printed.out.splitlines()
    table = [cells(line) for line in lines if re.match(r" *\d+  (plain|fused) ", line)]
    for row, one in zip(table, found.timed, strict=True):
        assert row[:2] == [str(one.batch), str(one.contender)]
        assert row[3:6] == [
            f"{value:.3f}" for value in (one.latency.p50_ms, one.latency.p95_ms, one.latency.p99_ms)
        ]
        if one.ratio is not None:
            assert row[8] == f"{one.ratio.median:.3f} [{one.ratio.low:.3f}, {one.ratio.high:.3f}]"
    assert [one.opener for one in found.opened] == [Opener.PLAIN, Opener.FUSED]
    assert found.machine.cpu in printed.out
    assert f"onnxruntime {found.machine.onnxruntime}" in printed.out
    # No terminal: a line per stage, on stderr.
    assert printed.err.splitlines() == [
        "timing batch 1 (3 times)",
        "timing batch 4 (3 times)",
        "timing predict (3 times)",
        "opening in fresh processes (2 times)",
    ]


def test_the_plain_model_and_the_inputs_can_be_the_users(
    guarded: Path, tmp_path: Path, capsys: Capture
) -> None:
    from nip_runtime.file.names import RAW_LOGITS
    from nip_runtime.run.engine.cut import Sliceable

    own, images = tmp_path / "own.onnx", tmp_path / "images.npy"
    own.write_bytes(Sliceable(guarded.read_bytes()).part(["input"], [RAW_LOGITS]))
    np.save(images, np.random.default_rng(3).integers(0, 256, (5, 28, 28), np.uint8))
    found = measure(capsys, guarded, "--openings", "0", "--against", own, "--data", images)
    assert found.plain == str(own)
    assert found.agreement.images == 5
    assert found.agreement.relative == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "1,x"], "expected whole numbers such as 1,16,64, got '1,x'"),
        (["--batch", "0"], "--batch: expected 1 to 65536 rows, got 0"),
        (["--batch", "2,2"], "--batch: expected different numbers, at least one, got 2, 2"),
        (["--second-pass", "5%"], "expected shares such as 0,0.05,1, got '5%'"),
        (["--flagged", "1.5"], "--second-pass: expected shares from 0 to 1, got 1.5"),
        (["--flagged", "nan"], "--second-pass: expected shares from 0 to 1, got nan"),
        (["--rounds", "0"], "rounds: expected at least 1, got 0"),
        (["--seconds", "-1"], "seconds: expected a positive number, got -1"),
        (["--rounds", "3", "--seconds", "3"], "not allowed with argument"),
        (["--threads", "0"], "threads: expected at least 1, got 0"),
        (["--openings", "-1"], "openings: expected at least 0, got -1"),
        (["--engine", "turbo"], "invalid choice: 'turbo'"),
        (["--device", "toaster"], "got 'toaster'"),
        (["--tolerance", "inf"], "tolerance: expected a positive number, got inf"),
        (["--against", "nowhere.onnx"], "expected an ONNX file at nowhere.onnx, got nothing there"),
        (["--data", "nowhere.npy"], "expected a file or folder at nowhere.npy, got nothing there"),
        (["--json", "nowhere/bench.json"], "cannot write to the folder nowhere; create it"),
        (["--json", "."], "expected a file to write, got the folder ."),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], message: str, guarded: Path, capsys: Capture
) -> None:
    assert main(["bench", str(guarded), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("nip: error: ")
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_json_does_not_take_the_place_of_a_pipe(guarded: Path, tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["bench", str(guarded), *QUICK, "--json", str(tmp_path / "pipe")]) == 2
    assert "which is a device or a pipe" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_a_model_that_is_not_defended_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert main(["bench", str(tmp_path / "none.onnx")]) == 2
    assert capsys.readouterr().err.startswith("nip: error: expected an ONNX file at ")


def test_data_that_the_screen_cannot_part_is_one_line(guarded: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "same.npy", np.zeros((4, 28, 28), np.uint8))
    assert main(["bench", str(guarded), "--data", str(tmp_path / "same.npy")]) == 2
    assert "give other inputs with --data" in capsys.readouterr().err


def test_the_help_teaches(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "--flagged" not in text
    for word in ("x per pass", "examples:", "--against PLAIN.onnx", "--second-pass", "exit code"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_rounds_done_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 104.0, 104.1, 110.0])  # begin, then three rounds; the third ends it
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    terminal = Terminal()
    advance = Progress(terminal)("batch 16", 3)
    for _ in range(3):
        advance(1)
    shown = terminal.getvalue().split("\r\033[K")
    assert shown == ["", "batch 16 …", "batch 16: 1 of 3 rounds, 8 s left", ""]


def test_an_error_stands_on_a_line_of_its_own(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["bench", str(guarded), "--against", "nowhere.onnx"]) == 2
    assert re.search(r"\r\033\[Knip: error: [^\n]*\n$", terminal.getvalue())


def test_a_report_reads_well() -> None:
    lines = report_lines(report())
    assert "  1.300 [1.250, 1.500]    1.25  1.040 [1.000, 1.200]" in "\n".join(lines)
    assert lines[-1] == (
        "DefendedSession.predict adds 40 µs [38, 44] to the bare run of one row (9 calls of 0.240 ms)"
    )
    assert all(line == line.rstrip() for line in lines)


def test_a_busy_machine_is_named() -> None:
    quiet, busy = (
        replace(report(), machine=replace(report().machine, load=load, cores=2)) for load in (0.9, 1.1)
    )
    assert not any("others were at work" in line for line in report_lines(quiet))
    assert any("others were at work" in line for line in report_lines(busy))


def test_the_bench_runs_where_the_export_side_is_absent(guarded: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'onnx', 'onnx_ir', 'scipy', 'nip_export', 'psutil')))\n"
        "from nip_runtime.cli.main import main\n"
        f"raise SystemExit(main(['bench', {str(guarded)!r}, *{QUICK!r}, '--openings', '1']))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "opened as" in done.stdout
