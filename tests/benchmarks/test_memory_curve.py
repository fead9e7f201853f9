"""The memory curve: its table is that of the committed results, and a point is measured as it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.memory_curve.table import lines, main, merged, read_results

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_that_of_the_results() -> None:
    assert main(["--check"]) == 0


def test_points_are_replaced_and_sorted() -> None:
    old = [{"size": 96, "images": 4000, "peak": 1}, {"size": 64, "images": 1000, "peak": 2}]
    new = [{"size": 96, "images": 1000, "peak": 3}, {"size": 96, "images": 4000, "peak": 4}]
    assert [point["peak"] for point in merged(old, new)] == [2, 3, 4]
    assert lines([]) == ["Not yet measured.", ""]


def test_a_point_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    saved = tmp_path / "curve.json"
    command = [sys.executable, "-m", "benchmarks.memory_curve.run", "--images", "300", "--size", "32"]
    done = subprocess.run(
        [*command, "--save", str(saved)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (point,) = read_results(saved)
    assert json.loads(saved.read_text(encoding="utf-8")) == [point]
    assert (point["images"], point["size"], point["pixels_bytes"]) == (300, 32, 300 * 32 * 32 * 3)
    assert 0 < point["before_bytes"] < point["peak_bytes"] < 3 * 2**30
