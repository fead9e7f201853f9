"""A stream that lacks letters such as ε gets plain ones in their place, and no command fails for it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nip_runtime.cli.printable import degrade

ROOT = Path(__file__).parents[2]


def _written(text: str, encoding: str) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    degrade(stream)
    stream.write(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "ε = 8/255 ≤ ρ − 1 … 私"),
        ("cp1252", "eps = 8/255 <= rho - 1 … \\u79c1"),
        ("ascii", "eps = 8/255 <= rho - 1 ... \\u79c1"),
    ],
)
def test_letters_degrade_to_what_the_stream_can_say(encoding: str, expected: str) -> None:
    assert _written("ε = 8/255 ≤ ρ − 1 … 私", encoding) == expected


def test_a_stream_that_chose_how_to_treat_errors_keeps_its_way() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="ignore")
    degrade(stream)
    stream.write("aε")
    stream.flush()
    assert raw.getvalue() == b"a"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
@pytest.mark.parametrize(
    "command", ["--help", "export --help", "evaluate --help", "bench --help", "predict -h"]
)
def test_every_help_prints_in_every_encoding(command: str, encoding: str) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "export")])
    done = subprocess.run(
        [sys.executable, "-m", "nip_runtime.cli.main", *command.split()],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": path},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert b"usage: nip" in done.stdout


def test_a_file_s_description_prints_in_ascii(toy_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nip_runtime.cli.main", "inspect", str(toy_path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode("ascii")
    assert b"eps" in done.stdout
    assert b"\\u" not in done.stdout
