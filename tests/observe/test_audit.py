from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nip_runtime.errors import InputError
from nip_runtime.observe import Audit, AuditFile, FlaggedRow
from nip_runtime.result import Reason
from tests.observe.answers import answer, flags

ROOT = Path(__file__).parents[2]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_function_gets_every_flagged_row() -> None:
    received = list[FlaggedRow]()
    audit = Audit(received.append)
    audit.observe(flags(False, False), duration_s=0.1)
    rows = answer([Reason.PASSED, Reason.CORRECTED, Reason.REFUSED, Reason.CONFIRMED])
    audit.observe(rows, duration_s=0.1)
    audit.observe(answer([]), duration_s=0.1)
    audit.observe(flags(True), duration_s=0.1)
    assert [(row.row, row.index, row.reason) for row in received] == [
        (1, 3, Reason.CORRECTED),
        (2, 4, Reason.REFUSED),
        (3, 5, Reason.CONFIRMED),
        (0, 6, Reason.DETECTED),
    ]
    corrected, refused = received[:2]
    assert corrected.suspicion == rows.suspicion[1]
    assert (corrected.label, corrected.raw_label, corrected.candidate, corrected.why) == (0, 1, 0, "")
    assert (refused.label, refused.raw_label, refused.candidate, refused.why) == (-1, -1, -1, "NaN")
    assert np.isnan(refused.suspicion)
    assert abs(datetime.now(UTC) - corrected.time) < timedelta(minutes=1)


def test_a_function_that_fails_on_one_row_gets_the_others() -> None:
    received = list[int]()

    def receive(row: FlaggedRow) -> None:
        received.append(row.row)
        if row.row < 2:
            raise OSError(f"row {row.row}")

    with pytest.raises(OSError, match="row 0"):
        Audit(receive).observe(flags(True, True, True), duration_s=0.1)
    assert received == [0, 1, 2]


def test_refuses_what_cannot_receive() -> None:
    with pytest.raises(InputError, match=r"expected a function of one flagged row, got 'flagged\.jsonl'"):
        Audit("flagged.jsonl")  # type: ignore[arg-type]


def test_lines_hold_the_row_and_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "flagged.jsonl"
    with AuditFile(path, class_names=("Kleid", "Mütze\n\udc80")) as audit:
        rows = answer([Reason.PASSED, Reason.CORRECTED, Reason.REFUSED])
        audit.observe(rows, duration_s=0.1)
    corrected, refused = lines(path)
    time = datetime.fromisoformat(corrected.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert corrected == {
        "row": 1,
        "index": 1,
        "suspicion": pytest.approx(float(rows.suspicion[1])),
        "reason": "corrected",
        "label": 0,
        "label_name": "Kleid",
        "raw_label": 1,
        "raw_label_name": "Mütze\n\udc80",
        "candidate": 0,
        "candidate_name": "Kleid",
    }
    assert (refused["suspicion"], refused["label"], refused["label_name"]) == (None, -1, None)
    assert refused["why"] == "NaN"
    told = {field.name for field in fields(FlaggedRow)}
    assert set(refused) == told | {"label_name", "raw_label_name", "candidate_name"}


def test_one_write_per_answer_and_none_without_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = list[int]()
    write = os.write

    def counted(file: int, content: memoryview) -> int:
        written.append(len(content))
        return write(file, content)

    with AuditFile(tmp_path / "flagged.jsonl") as audit:
        monkeypatch.setattr(os, "write", counted)
        audit.observe(flags(*[True] * 50), duration_s=0.1)
        audit.observe(flags(False), duration_s=0.1)
        monkeypatch.undo()
    assert written == [(tmp_path / "flagged.jsonl").stat().st_size]


def test_appends_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "flagged.jsonl"
    for _ in range(2):
        with AuditFile(path) as audit:
            audit.observe(flags(True), duration_s=0.1)
    assert [line["index"] for line in lines(path)] == [0, 0]


def test_lines_of_several_threads_and_files_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "flagged.jsonl"
    audits = [AuditFile(path, class_names=("x" * 300, "y" * 300)) for _ in range(2)]
    rows = flags(*[True] * 7)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: audits[n % 2].observe(rows, duration_s=0.1), range(200)))
    for audit in audits:
        audit.close()
    found = lines(path)
    assert sorted(line["index"] for line in found) == sorted([*range(700)] * 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_costs_lines_and_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    with AuditFile("/dev/full") as audit:
        for _ in range(3):
            audit.observe(flags(True, True), duration_s=0.1)
        assert audit.lost == 6
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "cannot write the audit file /dev/full: No space left on device; lost lines are counted, "
        "no more of them are logged"
    )


_SMALL_DISK = """
import logging, resource, sys
from nip_runtime.observe import AuditFile
from tests.observe.answers import flags
audit = AuditFile(sys.argv[1])
audit.observe(flags(True), duration_s=0.1)
length = audit.path.stat().st_size
room = int(length * 3.5)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
audit.observe(flags(True, True, True, True), duration_s=0.1)   # two fit, the third is torn
lost = [audit.lost]
audit.observe(flags(True), duration_s=0.1)
lost.append(audit.lost)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
audit.observe(flags(True, True), duration_s=0.1)
lost.append(audit.lost)
print(*lost)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_torn_line_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "flagged.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", _SMALL_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "3", "3"]
    assert done.stderr.count("cannot write the audit file") == 1
    whole = list[int]()
    torn = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            whole.append(json.loads(line)["index"])
        except json.JSONDecodeError:
            torn += 1
    assert whole == [0, 1, 2, 6, 7]
    assert torn == 1


def test_a_closed_file_counts_what_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditFile(tmp_path / "flagged.jsonl")
    audit.close()
    audit.close()
    audit.observe(flags(True, True), duration_s=0.1)
    assert audit.lost == 2
    assert "it is closed" in caplog.text


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_files_that_are_closed_or_forgotten_are_let_go(tmp_path: Path) -> None:
    def held() -> int:
        gc.collect()
        count = 0
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # closed meanwhile, as the one that lists them
                count += link.readlink() == path
        return count

    path = (tmp_path / "flagged.jsonl").resolve()
    audit = AuditFile(path)
    assert held() == 1
    audit.close()
    assert held() == 0
    forgotten = AuditFile(path)
    assert held() == 1
    del forgotten
    assert held() == 0


@pytest.mark.parametrize("name", [".", "absent/flagged.jsonl"])
def test_refuses_a_file_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"expected a file that can be written at .*, got .*; create its"):
        AuditFile(tmp_path / name)
