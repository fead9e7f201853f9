"""Finds the commands of ``nip``: its own, and those that installed packages add.

A command is a module with ``NAME``, ``HELP``, ``configure(parser)`` and ``run(args) -> int``. Other packages
name theirs in the entry-point group ``nip_runtime.commands``; a command's module is imported when it is run
or when the help lists it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final, Protocol

GROUP: Final = "nip_runtime.commands"
OWN: Final = ("predict", "inspect", "sign", "verify", "bench", "batch", "doctor", "triton", "ui")
ORDER: Final = (
    *("export", "demo", "evaluate"),  # make a file
    *("predict", "batch", "triton", "ui"),  # use it
    *("inspect", "sign", "verify"),  # trust it
    *("bench", "doctor"),  # look after it
)
"""In which the help lists commands; those of other packages come last."""


class Command(Protocol):
    """What a command's module offers."""

    NAME: str
    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments, description and examples."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it, and return the exit code."""


Loader = Callable[[], Command]


def find_commands() -> Mapping[str, Loader]:
    """How to load each command, by name. Imports none of them; a built-in one can't be replaced."""
    added: dict[str, Loader] = {entry.name: entry.load for entry in entry_points(group=GROUP)}
    own: dict[str, Loader] = {name: partial(_own, name) for name in OWN}
    found = own | {name: loader for name, loader in added.items() if name not in own}
    places = {name: place for place, name in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda item: places.get(item[0], len(places))))


def _own(name: str) -> Command:
    command: Command = import_module(f"nip_runtime.cli.{name}")
    return command
