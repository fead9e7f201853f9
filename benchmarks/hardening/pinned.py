"""Environments with pinned packages, for tools that this product is checked against and never needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_TIMEOUT_S = 300


def interpreter(version: str) -> Path:
    """The Python of a version such as "3.12": this process's own, or one on the path that really starts.

    Raises:
        RuntimeError: there is none.
    """
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(sys.executable)
    for folder in os.get_exec_path():
        found = Path(folder) / f"python{version}"
        # A version manager's shim can exist and refuse.
        if found.is_file() and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    raise RuntimeError(f"expected python{version} on the path, got none that starts; install it")


def make_environment(requirements: Path, folder: Path, python_version: str = "") -> Path:
    """Make one in ``folder`` with exactly the packages of a requirements file; returns its Python.

    Args:
        requirements: lines for pip, complete.
        folder: is made.
        python_version: such as "3.12"; "" for this process's own.

    Raises:
        RuntimeError: there is no such Python, or pip can't install them; says what it said.
    """
    # Without pip of its own: some distributions split ensurepip from Python.
    own = interpreter(python_version) if python_version else Path(sys.executable)
    made = run_outside(own, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    if made.returncode != 0:
        raise RuntimeError(f"{own} can't make {folder}:\n{made.stderr}")
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python)
    done = run_outside(*pip, "install", "--no-deps", "-r", requirements, cwd=folder)
    if done.returncode != 0:
        raise RuntimeError(f"can't install {requirements}:\n{done.stdout}\n{done.stderr}")
    return python


def clean_variables() -> dict[str, str]:
    """This process's environment without what would lead another Python astray, to a checkout say."""
    left_out = ("PYTHON", "PYTEST", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


def run_outside(
    *command: str | Path, cwd: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in :func:`clean_variables` and others; its output is captured."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_variables() | dict(variables or {}),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
