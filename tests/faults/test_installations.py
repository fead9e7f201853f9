"""Broken onnxruntimes: the short form of ``python -m benchmarks.hardening.provider_faults``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import onnxruntime
import pytest

from nip_runtime.support.dependencies import OLDEST_ONNXRUNTIME, version_of

ROOT = Path(__file__).parents[2]
REPAIR = (
    r"pip uninstall onnxruntime\S*, then"
    r' pip install "nip-runtime\[cpu\]" or pip install "nip-runtime\[gpu\]"'
)
OPEN = """
import sys
from nip_runtime import DefendedSession, NipError
try:
    print(DefendedSession(sys.argv[1], device=sys.argv[2]))
except NipError as error:
    print(type(error).__name__, error)
"""


def installation(folder: Path, *, library_bytes: int | None) -> Path:
    """A copy of the real onnxruntime whose library for Python is missing, or cut short."""
    source, copy = Path(onnxruntime.__file__).parent, folder / "onnxruntime"
    for path in source.rglob("*"):
        target = copy / path.relative_to(source)
        if path.name.startswith("onnxruntime_pybind11_state"):
            if library_bytes is not None:
                target.write_bytes(path.read_bytes()[:library_bytes])
        elif path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif "__pycache__" not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, cwd=folder
    )


def doctor(folder: Path) -> str:
    done = python(folder, "-m", "nip_runtime.cli.main", "doctor")
    assert done.returncode == 1, "nothing works"
    assert done.stderr == ""
    assert re.search(REPAIR, done.stdout)
    return done.stdout


@pytest.mark.parametrize("device", ["cpu", "cuda", "auto"])
def test_what_is_left_of_an_uninstalled_build_is_named(tmp_path: Path, device: str) -> None:
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    said = python(tmp_path, "-c", OPEN, str(ROOT / "tests/goldens/guarded.onnx"), device).stdout
    assert said.startswith("DependencyError expected a working onnxruntime, got one that does not load")
    assert "pip uninstall onnxruntime" in said
    if device == "cpu":
        assert "nothing is left of it but its name" in doctor(tmp_path)


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    folder = installation(tmp_path, library_bytes=None)
    assert "does not load (No module named 'onnxruntime.capi.onnxruntime_pybind11_state'" in doctor(folder)
    said = python(folder, "-c", OPEN, str(ROOT / "tests/goldens/guarded.onnx"), "cpu").stdout
    assert said.startswith("DependencyError expected a working onnxruntime, got one that does not load")


def test_a_damaged_library_that_ends_the_process_does_not_end_doctor(tmp_path: Path) -> None:
    folder = installation(tmp_path, library_bytes=100_000)
    said = doctor(folder)
    assert re.search(r"does not load \((using it ends the process with SIG\w+|\S+ failed to map)", said)


def test_the_oldest_version_is_that_of_the_package() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (needed,) = document["project"]["optional-dependencies"]["cpu"]
    assert needed == f"onnxruntime>={'.'.join(map(str, OLDEST_ONNXRUNTIME))}"
    assert version_of(onnxruntime) >= OLDEST_ONNXRUNTIME
