"""Environments with pinned packages, for tools that this product is checked against and never needs."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

_TIMEOUT_S = 300


def make_environment(requirements: Path, folder: Path) -> Path:
    """Make one in ``folder`` with exactly the packages of a requirements file; returns its Python.

    Raises:
        RuntimeError: if pip can't install them; says what it said.
    """
    # Without pip of its own: some distributions split ensurepip from Python.
    venv.create(folder, with_pip=False)
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
