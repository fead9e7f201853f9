"""The built wheel in a virtual environment of its own, and commands that see nothing of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST_TOOLS = ("pytest", "hypothesis", "jsonschema", "opencv-python-headless")


def quiet(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without what this process's environment adds; its output is captured."""
    # PYTHONPATH and pytest's own variables would bring the checkout back in.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept, capture_output=True, text=True, timeout=300
    )


def succeed(*command: str | Path, cwd: Path) -> str:
    done = quiet(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(*arguments: str | Path, cwd: Path) -> None:
    succeed(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments, cwd=cwd)


class Environment:
    """A virtual environment, and a folder with copies of the tests but not of the sources."""

    def __init__(
        self,
        folder: Path,
        wheel: Path,
        *,
        extras: str = "cpu",
        pins: tuple[str | Path, ...] | None = None,
        interpreter: Path | None = None,
    ) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._bin = folder / "venv" / "bin"
        # Without pip of its own: some distributions split ensurepip from Python.
        if interpreter is None:
            venv.create(folder / "venv", with_pip=False)
        else:
            succeed(interpreter, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
        self._pins = ("-c", ROOT / "constraints.txt") if pins is None else pins
        self.install(f"{wheel}[{extras}]")
        for name in ("pyproject.toml", "tests/conftest.py", "tests/runtime", "tests/goldens"):
            source, target = ROOT / name, self.folder / name
            target.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    def install(self, *what: str) -> None:
        """Install packages, of the pinned versions where there is one."""
        pip("--python", self._bin / "python", "install", *self._pins, *what, cwd=self.folder)

    def add_test_tools(self) -> None:
        self.install(*TEST_TOOLS)

    def python(self, code: str, *arguments: str | Path, warnings: str = "error") -> str:
        """Run code; returns what it prints."""
        return succeed(self._bin / "python", "-W", warnings, "-c", code, *arguments, cwd=self.folder)

    def nip(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return quiet(self._bin / "nip", *arguments, cwd=self.folder)

    def pytest(self, *arguments: str) -> str:
        return succeed(self._bin / "python", "-m", "pytest", *arguments, cwd=self.folder)
