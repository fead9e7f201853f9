"""The hardening tables: written from the kept JSON, missed promises bold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.hardening import table
from benchmarks.hardening.record import Count, Record, command_line, finish, read_all, save, show

RECORD = Record(
    name="made_up",
    command="python -m benchmarks.hardening.made_up",
    counts=(
        Count(what="files tried", value=12345),
        Count(what="files refused", value=41, of=42, wanted="all", met=False),
        Count(what="time", value=0.25, unit="s", wanted="under 1 s", met=True),
    ),
    details={"server": "2.51"},
)


def test_the_committed_tables_are_written_from_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = save(RECORD, tmp_path)
    (read,) = read_all(tmp_path)
    assert read.record == RECORD
    assert read.commit and read.measured.endswith("+00:00")
    assert json.loads(path.read_text())["machine"]["onnxruntime"] in read.machine


@pytest.mark.parametrize("saves", [False, True])
def test_a_broken_promise_is_the_exit_code(
    saves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.hardening.record.save.__defaults__", (tmp_path,))
    assert finish(RECORD, saves=saves, notes=["file 7"]) == 1
    assert capsys.readouterr().out == f"{show(RECORD)}\n  file 7\n"
    assert [saved.record for saved in read_all(tmp_path)] == [RECORD] * saves
    kept = tuple(count for count in RECORD.counts if count.met is not False)
    assert finish(replace(RECORD, counts=kept), saves=False) == 0


def test_a_command_is_shown_with_what_was_asked_for() -> None:
    asked = command_line("made_up", ["--rows", "3", "--save", "--quick"])
    assert asked == "python -m benchmarks.hardening.made_up --rows 3 --quick"


def test_chosen_counts_and_every_missed_promise_stand_in_the_short_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(RECORD, tmp_path)
    command = f"`{RECORD.command}`"
    missed = f"| files refused | 41 of 42 | **all: missed** | {command} |"
    kept = ["", "In all 1 of 2 promised numbers were kept.", ""]
    assert table.headlines(read_all(tmp_path))[2:] == [missed, *kept]
    monkeypatch.setattr(table, "HEADLINES", {"made_up": ("files tr", "time")})
    tried = f"| files tried | 12 345 |  | {command} |"
    time = f"| time | 0.25 s | under 1 s | {command} |"
    assert table.headlines(read_all(tmp_path))[2:] == [tried, missed, time, *kept]
    monkeypatch.setattr(table, "HEADLINES", {"made_up": ("files lost",)})
    with pytest.raises(ValueError, match="made_up: expected a count that begins with 'files lost'"):
        table.headlines(read_all(tmp_path))


def test_the_long_table_holds_everything(tmp_path: Path) -> None:
    save(RECORD, tmp_path)
    text = "\n".join(table.everything(read_all(tmp_path)))
    for part in ("## Made up", "| files tried | 12 345 |  |", "- server: 2.51", "commit "):
        assert part in text


def test_the_terminal_says_what_was_missed() -> None:
    assert "files refused: 41 of 42 (all: MISSED)" in show(RECORD)
    assert "time: 0.25 s (under 1 s: met)" in show(RECORD)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1234567, "1 234 567"), (0.123456789, "0.123457")])
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert table.number(Count(what="x", value=value)) == text
