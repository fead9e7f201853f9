"""The reference of the command line: what every command's ``--help`` says, taken from the code."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

from nip_runtime.cli.commands import find_commands

_WIDTH: Final = 100


def reference() -> str:
    """Markdown: a heading and the help of each command.

    Raises:
        ModuleNotFoundError: a command cannot be imported here.
    """
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for name, load in find_commands().items():
        command = load()
        parser = argparse.ArgumentParser(
            prog=f"nip {name}",
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=_WIDTH),
        )
        command.configure(parser)
        yield from (f"## nip {name}", "", f"{command.HELP[0].upper()}{command.HELP[1:]}.", "")
        yield from ("```text", parser.format_help().rstrip(), "```", "")
