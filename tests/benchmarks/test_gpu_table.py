"""The tables of a GPU run, from made-up results."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import results, table
from benchmarks.gpu.material import Answers
from benchmarks.gpu.results import (
    Book,
    Check,
    Compared,
    Held,
    Missing,
    Outcome,
    Profiled,
    Rival,
    Row,
    Setting,
    Timed,
)
from benchmarks.gpu.steps.answers import judged
from benchmarks.speed.targets import State
from nip_runtime.operate.bench.rounds import Latency, Spread

LATENCY = Latency(p50_ms=2.0, p95_ms=3.0, p99_ms=4.0, rounds=9)
SETTING = Setting(
    date="2026-11-30T10:00:00+00:00",
    plan="full",
    device="cuda:0",
    gpu="NVIDIA H100",
    driver="580.1",
    cpu="CPU",
    cores=16,
    system="Linux",
    versions={"onnxruntime": "1.31.1"},
    commit="abc",
    left_out={"ResNet-50, int8": "the exporter refused"},
)
TIMED = Timed(
    network="resnet50",
    precision="fp32",
    batch=1,
    way="gated",
    state=State.CALM,
    source="host",
    latency=LATENCY,
    ratio=Spread(1.02, 1.0, 1.1),
)
ROWS: tuple[Row, ...] = (
    SETTING,
    Outcome(name="faults", limit_s=50, seconds=50, problem="ended after its limit of 50 s"),
    replace(TIMED, way="plain", state=None, ratio=Spread(1, 1, 1)),
    TIMED,
    replace(TIMED, way="fused", ratio=Spread(1.31, 1.2, 1.4)),
    Check(name="test_one", expected="passed", got="passed", held=True),
    Check(name="a wrong device number", expected="DeviceError", got="a session", held=False),
    Compared(
        network="resnet50",
        precision="fp32",
        engine="fused",
        rows=24,
        tolerance=1e-3,
        largest_difference=2e-5,
        labels_differ=0,
        labels_excused=0,
        flags_differ=1,
        flags_excused=1,
    ),
    Held(
        network="resnet50",
        precision="fp32",
        way="fused",
        opened_bytes=1 << 28,
        largest_bytes=1 << 30,
        largest_batch=256,
    ),
    Rival(
        network="resnet50",
        batch=1,
        kind="eager",
        latency=LATENCY,
        to_calm=Spread(3, 2, 4),
        to_all=Spread(1.5, 1, 2),
    ),
    Missing(what="torch.compile resnet50", why="no compiler"),
    Profiled(
        network="resnet50",
        precision="fp32",
        batch=1,
        way="fused",
        state=State.CALM,
        total_ms=3.0,
        sections_ms={"heads": 1.0},
        operators=("heads: Gemm ×1 900 µs",),
    ),
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("docs/speed.md", "benchmarks/README.md"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(table.ROOT / name, tmp_path / name)
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    return tmp_path


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_rows_survive_writing_and_reading(tmp_path: Path) -> None:
    book = Book(tmp_path, "speed")
    for row in ROWS:
        book.add(row)
    assert results.read(tmp_path / "speed.json") == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["speed.json"]


def test_without_results_it_says_not_yet_measured(root: Path) -> None:
    assert table.short(()) == ["**CUDA: not yet measured on a GPU.**", ""]
    assert table.main([]) == 0
    page = (root / "docs" / "speed.md").read_text(encoding="utf-8")
    assert "**CUDA: not yet measured on a GPU.**\n" in page


def test_a_runs_results_are_taken_and_written(root: Path) -> None:
    out = root / "out"
    out.mkdir()
    Book(out, "answers").add(*ROWS)
    assert table.main(["--take", str(out)]) == 0
    readme = (root / "docs" / "speed.md").read_text(encoding="utf-8")
    assert "not yet measured on a GPU.**" not in readme
    assert "Ratios that keep their targets: 1 of 2." in readme
    assert (
        "Measured on NVIDIA H100, driver 580.1, 16 cores of CPU (Linux); onnxruntime 1.31.1; 2026-11-30"
        in readme
    )
    assert "**Not: a wrong device number.**" in readme
    assert table.main(["--check"]) == 0


def test_missed_targets_are_bold_and_profiled_and_what_is_missing_says_so() -> None:
    text = "\n".join(table.full(ROWS))
    assert "| no row in the second pass | **1.31 missed** · 1.02 · not yet measured |" in text
    assert "| 5 % in the second pass | – |" in text
    assert "| every row in the second pass | not yet measured |" in text
    assert "Ratios to one plain pass, from the device: not yet measured." in text
    assert "| resnet50 | eager PyTorch | 1 | 2.00 | 3.0 | **1.5 missed** |" in text
    assert "| resnet50, batch 1, fused, no row | 3.00 | heads 1.00 | heads: Gemm ×1 900 µs |" in text
    assert "| resnet50, fp32, fused | 256 | 1024 at batch 256 |" in text
    assert "- Step faults: ended after its limit of 50 s" in text
    assert "- torch.compile resnet50: no compiler" in text
    assert "- ResNet-50, int8: the exporter refused" in text
    only_setting = "\n".join(table.full((SETTING,)))
    for what in ("PyTorch computing the same defence", "Memory on the card", "Answers beside the CPU's"):
        assert f"{what}: not yet measured." in only_setting


def test_a_dry_runs_results_are_not_kept(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "out"
    out.mkdir()
    Book(out, "answers").add(replace(SETTING, gpu="", device="cpu"))
    assert table.main(["--take", str(out)]) == 2
    assert "expected results of a GPU" in capsys.readouterr().err
    assert not (root / "results").exists()


def test_answers_may_differ_only_where_the_tolerance_excuses_it() -> None:
    logits = np.array([[9, 0], [0, 9], [5, 4.99], [0, 9]], np.float32)
    expected = Answers(
        labels=logits.argmax(1),
        logits=logits,
        raw_labels=logits.argmax(1),
        raw_logits=logits,
        suspicion=np.array([0.1, 0.9, 0.2, 0.7], np.float32),
        flagged=np.array([False, True, False, True]),
    )

    def compared(found: Answers) -> Compared:
        return judged("net", "fp32", "fused", found, expected, flag_at=0.7, tolerance=1e-3)

    assert compared(expected).held
    close = replace(expected, labels=np.array([0, 1, 1, 1]), flagged=np.array([False, True, False, False]))
    found = compared(close)
    assert found.held and (found.labels_excused, found.flags_excused) == (1, 1)
    assert not compared(replace(expected, labels=np.array([1, 1, 0, 1]))).held
    assert not compared(replace(expected, flagged=np.array([True, True, False, True]))).held
    assert not compared(replace(expected, raw_logits=logits + np.float32(0.1))).held
