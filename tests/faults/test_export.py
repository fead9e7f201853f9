"""The short form of ``python -m benchmarks.hardening.export_faults``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch", exc_type=ModuleNotFoundError)

from benchmarks.hardening.export_faults import full_disks, kills, leftovers, record, state_of
from benchmarks.hardening.traffic import GOLDENS


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_exports_leave_a_whole_file(tmp_path: Path) -> None:
    found, left = kills(tmp_path, 6, lambda amount: None)
    assert sum(counter["old"] + counter["new"] for counter in found.values()) >= 6
    assert all(counter["broken"] == 0 for counter in found.values())
    assert sum(counter["killed"] for counter in found.values()) >= 3
    assert left >= 0
    assert leftovers(tmp_path) == []


def test_full_disks_leave_the_old_file(tmp_path: Path) -> None:
    found = full_disks(tmp_path)
    assert found["tried"] >= 4
    assert found["whole"] == found["tried"]
    assert found["one clear error"] == found["tried"] - found["fitted"] >= 4
    assert found["leftovers"] == 0


def test_a_broken_file_is_counted_as_broken(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((GOLDENS / "guarded.onnx").read_bytes()[:-1])
    assert state_of(path) == "broken"
    counters = {phase: Counter(old=1, broken=1) for phase in ("whole exports", "the writing", "the rename")}
    counted = record(counters, 1, Counter({"tried": 4, "whole": 4, "one clear error": 4}))
    assert [count.met for count in counted.counts if "is whole" in count.what] == [False] * 3
