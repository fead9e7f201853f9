"""The commands that count bad and fuzzed files, on a few; and that they can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.abuse.files.bad_file import of_bytes
from tests.abuse.files.catalogue import BAD_FILES
from tests.abuse.files.seal import golden

ROOT = Path(__file__).resolve().parents[3]


def test_the_fuzzer_counts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.hardening.fuzz"]
    done = subprocess.run(
        [*command, "--executions", "250", "--jobs", "1", "--keep", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fuzzed files tried: 250" in done.stdout
    assert "processes died or hung: 0 of" in done.stdout
    assert not list(tmp_path.iterdir())


CASES = {bad.name: bad for bad in BAD_FILES} | {
    "good": of_bytes("good", "", golden),
    "other-words": of_bytes("other-words", "said otherwise", lambda: b""),
}
CODE = """
import sys
from benchmarks.hardening.files import try_file
from tests.abuse.files.test_counting import CASES
print(try_file(CASES[sys.argv[1]]).problem)
"""


@pytest.mark.parametrize(
    ("name", "problem"), [("function-chain", ""), ("good", "opened"), ("other-words", "unclear: ")]
)
def test_a_file_is_tried_in_a_process_of_its_own(name: str, problem: str) -> None:
    """From a fresh process: a fork of this one might inherit locks that its threads hold."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, name], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip().startswith(problem)
    assert bool(done.stdout.strip()) is bool(problem)
