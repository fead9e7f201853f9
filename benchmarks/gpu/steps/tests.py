"""The tests marked ``gpu``, each with its outcome."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Final

from benchmarks.gpu.plan import Step
from benchmarks.gpu.results import Check
from benchmarks.gpu.step import ROOT, Task, task

FILES: Final = ("tests/runtime/test_runners_gpu.py", "tests/runtime/test_providers.py")
"""All that hold a test marked gpu; they need nothing but pytest."""
PASSED, SKIPPED = "passed", "skipped"


def main() -> int:
    told = task(Step.TESTS)
    book = told.book()
    with tempfile.TemporaryDirectory(prefix="nip-gpu-tests-") as folder:
        report = Path(folder) / "report.xml"
        # Warnings are errors in this project's own environment; there, other versions have others.
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-W", "default"]
        command += ["-o", "minversion=0", "-q", "--tb=short", f"--junitxml={report}", *FILES]
        done = subprocess.run(command, cwd=ROOT, check=False)
        checks = outcomes(report, told)
    book.add(*checks)
    if not checks:
        book.add(Check(name="pytest", expected="tests", got=f"exit code {done.returncode}", held=False))
    return 0


def outcomes(report: Path, told: Task) -> list[Check]:
    """Every test of a JUnit report. A skipped one holds only where there is no GPU."""
    found = list[Check]()
    if not report.exists():
        return found
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        bad = next((child for child in case if child.tag in ("failure", "error")), None)
        skipped = case.find("skipped") is not None
        got = PASSED if bad is None and not skipped else SKIPPED if bad is None else str(bad.get("message"))
        expected = PASSED if told.on_gpu else SKIPPED
        found.append(
            Check(name=str(case.get("name")), expected=expected, got=got[:500], held=got == expected)
        )
    return found


if __name__ == "__main__":
    raise SystemExit(main())
