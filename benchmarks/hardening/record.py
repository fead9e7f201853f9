"""What one check of the hardening counted, and its JSON form; one file per check."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from nip_runtime.operate.bench.machine import describe
from nip_runtime.support.writing import write_whole

RESULTS: Final = Path(__file__).resolve().parent.parent / "results" / "hardening"


@dataclass(frozen=True, kw_only=True)
class Count:
    """One number that a check came to.

    Attributes:
        what: counted, in words that stand alone in a table: "bad files refused with one clear error".
        value: how many, or how much.
        of: out of how many tries; None where that makes no sense.
        unit: of ``value``; "" for plain counts.
        wanted: what it had to be, in words; "" where nothing was promised.
        met: whether it was; None where nothing was promised.
    """

    what: str
    value: float
    of: int | None = None
    unit: str = ""
    wanted: str = ""
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One check.

    Attributes:
        name: of the check, and of its file.
        command: that shows the numbers again.
        counts: what it came to.
        details: whatever else belongs to the numbers: sizes, versions, settings.
    """

    name: str
    command: str
    counts: tuple[Count, ...]
    details: Mapping[str, Any]


def save(record: Record, folder: Path = RESULTS) -> Path:
    """Write a record with machine, versions, commit and time; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.name}.json"
    content = asdict(record) | {
        "machine": asdict(describe()),
        "commit": _commit(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A record as it was read again, with where, when and on which commit it was made."""

    record: Record
    machine: str
    commit: str
    measured: str


def read_all(folder: Path = RESULTS) -> tuple[Saved, ...]:
    """All saved records, by name."""
    return tuple(_read(path) for path in sorted(folder.glob("*.json")))


def _read(path: Path) -> Saved:
    content = json.loads(path.read_text(encoding="utf-8"))
    machine = content["machine"]
    return Saved(
        record=Record(
            name=content["name"],
            command=content["command"],
            counts=tuple(Count(**count) for count in content["counts"]),
            details=content["details"],
        ),
        machine=f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, "
        f"numpy {machine['numpy']}, onnxruntime {machine['onnxruntime']}",
        commit=content["commit"],
        measured=content["measured"],
    )


def show(record: Record) -> str:
    """The record as lines for a terminal."""
    lines = [f"{record.name}: {record.command}"]
    for count in record.counts:
        of = "" if count.of is None else f" of {count.of}"
        unit = f" {count.unit}" if count.unit else ""
        verdict = "" if count.met is None else f" ({count.wanted}: {'met' if count.met else 'MISSED'})"
        lines.append(f"  {count.what}: {count.value:g}{of}{unit}{verdict}")
    return "\n".join(lines)


def command_line(name: str, arguments: Sequence[str] | None = None) -> str:
    """The command that is running, to be shown again: with all that was asked for but ``--save``.

    Args:
        name: of the check.
        arguments: None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return " ".join([f"python -m benchmarks.hardening.{name}", *(each for each in given if each != "--save")])


def finish(record: Record, *, saves: bool, notes: Iterable[str] = ()) -> int:
    """End a command: print its counts and what it noted of single tries, and save the counts if asked to.

    Returns:
        The exit code: 1 if a promise is broken.
    """
    print(show(record))
    for note in notes:
        print(f"  {note}")
    if saves:
        save(record)
    return 0 if all(count.met is not False for count in record.counts) else 1


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
