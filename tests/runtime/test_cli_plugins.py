from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.cli import commands
from nip_runtime.cli.main import main
from tests.runtime.toy import random_images

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


_PLUGIN = """
NAME = "greet"
HELP = "say hello"
def configure(parser):
    parser.add_argument("name")
def run(args):
    if args.name == "nobody":
        import no_such_module_anywhere.part
    if args.name == "bug":
        raise RuntimeError("two\\nlines")
    print("hello", args.name)
    return 7
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nip_test_greet.py").write_text(_PLUGIN)
    (tmp_path / "nip_test_broken.py").write_text("import torch_of_another_world")
    monkeypatch.syspath_prepend(tmp_path)
    entries = [
        EntryPoint("greet", "nip_test_greet", commands.GROUP),
        EntryPoint("broken", "nip_test_broken", commands.GROUP),
        EntryPoint("predict", "nip_test_greet", commands.GROUP),
    ]
    monkeypatch.setattr(commands, "entry_points", lambda group: entries if group == commands.GROUP else [])


@pytest.mark.usefixtures("plugins")
def test_added_commands_run_and_are_listed(capsys: Capture) -> None:
    assert main(["greet", "you"]) == 7
    assert capsys.readouterr().out == "hello you\n"
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert "say hello" in text
    assert "torch_of_another_world" in text


@pytest.mark.usefixtures("plugins")
def test_a_module_that_a_command_misses_is_one_line(capsys: Capture) -> None:
    for arguments in (["greet", "nobody"], ["broken"]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("nip: error: expected the package ")
        assert error.count("\n") == 1


@pytest.mark.usefixtures("plugins")
def test_a_bug_is_one_line_too(capsys: Capture) -> None:
    assert main(["greet", "bug"]) == 2
    assert capsys.readouterr().err == "nip: error: RuntimeError: two lines (--traceback shows where)\n"


@pytest.mark.usefixtures("plugins")
def test_added_commands_cannot_replace_built_in_ones(toy_path: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "rows.npy", random_images(2))
    assert main(["predict", str(toy_path), str(tmp_path / "rows.npy")]) == 0
    assert "hello" not in capsys.readouterr().out


@pytest.mark.usefixtures("plugins")
def test_a_named_command_imports_no_other() -> None:
    sys.modules.pop("nip_test_greet", None)
    assert main(["doctor"]) == 0
    assert "nip_test_greet" not in sys.modules
