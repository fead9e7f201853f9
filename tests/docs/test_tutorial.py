"""The tutorial is run as it stands: its files, its commands, and what it says that they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language: str, start: str) -> str:
    """The one block of a language that starts so, or holds that as a line of its own."""
    found = [text for kind, text in BLOCK.findall(PAGE) if kind == language and start in text]
    assert len(found) == 1, (language, start, len(found))
    return str(found[0])


def run(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def nip(command: str, cwd: Path) -> str:
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "nip"
    return run("-m", "nip_runtime.cli.main", *words[1:], cwd=cwd)


def labels(summary: str) -> list[str]:
    """The first column of a summary."""
    return [line[:18].strip() for line in summary.splitlines() if line[:18].strip()]


@pytest.mark.slow
def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "garments.py").write_text(blocks("python", "def network()"), encoding="utf-8")
    (tmp_path / "train.py").write_text(blocks("python", "load_example()"), encoding="utf-8")
    run("train.py", cwd=tmp_path)

    summary = nip(blocks("sh", "nip export"), tmp_path)
    assert set(labels(blocks("text", "benign flagged"))) <= set(labels(summary))

    (tmp_path / "attack.py").write_text(blocks("python", "autograd.grad"), encoding="utf-8")
    benign, attacked = run("attack.py", cwd=tmp_path).splitlines()
    numbers = [[float(n) for n in re.findall(r"([\d.]+)%", line)] for line in (benign, attacked)]
    (raw, defended, flagged), (raw_attacked, defended_attacked, flagged_attacked) = numbers
    assert raw > 75 and abs(raw - defended) < 4 and flagged < 6
    # What the text promises of the attack and of the file, with room for other processors.
    assert raw_attacked < raw - 20 and defended_attacked > raw_attacked + 5 and flagged_attacked > 2 * flagged

    for command in blocks("sh", "nip inspect").splitlines():
        printed = nip(command, tmp_path)
    header = blocks("text", "reason").split()
    assert printed.splitlines()[0].split() == header
    assert "matches the manifest" in nip("nip inspect garments.nip.onnx", tmp_path)

    answers = run("-c", blocks("python", "InferenceSession("), cwd=tmp_path)
    assert len(answers.splitlines()) == 1 and "False" in answers
