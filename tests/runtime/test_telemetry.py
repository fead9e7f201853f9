"""onnxruntime's telemetry stays off, unless the user asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nip_runtime.support.dependencies import load, version_of

ROOT = Path(__file__).parents[2]
WITH_TELEMETRY = (1, 29)
# onnxruntime is silent by itself where it sees a build machine (CI, GITHUB_ACTIONS, JENKINS_URL, ...). Tests
# must see what a user's machine does, so that only these variables come along.
KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG")


def _files_left(home: Path, code: str, **environment: str) -> list[Path]:
    """What a fresh interpreter leaves in the user's folder after running `code`."""
    home.mkdir()
    inherited = {name: os.environ[name] for name in KEPT if name in os.environ}
    path = os.pathsep.join([str(ROOT), str(ROOT / "export")])
    subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={**inherited, "HOME": str(home), "PYTHONPATH": path, **environment},
        cwd=home.parent,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return [found for found in home.rglob("*") if found.is_file()]


def _predict(path: Path) -> str:
    return (
        "import numpy, nip_runtime\n"
        f"with nip_runtime.DefendedSession({str(path)!r}, device='cpu') as session:\n"
        "    session.predict(numpy.zeros((3, 4, 4), numpy.uint8))\n"
    )


def test_predicting_leaves_nothing_in_the_users_folder(toy_path: Path, tmp_path: Path) -> None:
    assert _files_left(tmp_path / "home", _predict(toy_path)) == []


def test_the_command_line_leaves_nothing_in_the_users_folder(toy_path: Path, tmp_path: Path) -> None:
    code = f"from nip_runtime.cli.main import main; main(['doctor', {str(toy_path)!r}, '--device', 'cpu'])"
    assert _files_left(tmp_path / "home", code) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="watches the cache of Linux")
def test_who_asks_for_telemetry_gets_it_and_the_test_above_sees_it(toy_path: Path, tmp_path: Path) -> None:
    if version_of(load("onnxruntime")) < WITH_TELEMETRY:
        pytest.skip("this onnxruntime has no telemetry")
    left = _files_left(tmp_path / "home", _predict(toy_path), ORT_DISABLE_TELEMETRY="0")
    assert any("onnxruntime" in str(found) for found in left)


@pytest.mark.parametrize("package", ["nip_runtime", "nip_export"])
def test_importing_either_package_switches_it_off_before_onnxruntime_comes(package: str) -> None:
    code = (
        f"import {package}, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    )
    inherited = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    path = os.pathsep.join([str(ROOT), str(ROOT / "export")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["1", "False"]
