"""Examples of the pages that no other test runs: commands are understood as they stand, Python runs."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nip_runtime.cli.commands import find_commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md"]


class _Refused(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # argparse's ends the process
        raise _Refused(message)


def commands() -> list[tuple[str, str]]:
    """Every command line of nip in a shell block, with its page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line) for line in lines if line.startswith("nip ")]
    return found


def understood(line: str) -> argparse.Namespace:
    """What a command line says to its command."""
    _, name, *arguments = shlex.split(line, comments=True)
    command = find_commands()[name]()
    parser = _Parser(prog=f"nip {name}")
    command.configure(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_on_the_pages_is_understood(page: str, line: str) -> None:
    understood(line)


def test_a_command_that_is_not_understood_is_noticed() -> None:
    assert len(commands()) >= 8
    with pytest.raises(_Refused, match="unrecognized arguments: --no-such-option"):
        understood("nip inspect model.nip.onnx --no-such-option")


def test_the_manifest_is_read_with_onnxruntime_alone(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "file-format.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "model.nip.onnx").write_bytes((ROOT / "tests" / "goldens" / "guarded.onnx").read_bytes())
    code = f"{example}import sys; assert 'nip_runtime' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    version, policy, rate = done.stdout.split()
    assert version.startswith("1.") and policy == "guarded" and 0 <= float(rate) < 0.1
