"""The tries of `benchmarks.hardening.inputs`, by number, and the process that makes them one by one."""

from __future__ import annotations

import faulthandler
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from nip_runtime.session import DefendedSession
from tests.abuse.inputs.array_files import ARRAY_FILES
from tests.abuse.inputs.case import MAX_BATCH, Case, complaint
from tests.abuse.inputs.drawn import array_complaint
from tests.abuse.inputs.drawn import file_complaint as drawn_complaint
from tests.abuse.inputs.file_case import FileCase, file_complaint
from tests.abuse.inputs.image_files import IMAGE_FILES
from tests.abuse.inputs.kinds import KINDS
from tests.abuse.inputs.rows import ROWS

GOLDENS: Final = Path(__file__).resolve().parents[2] / "tests" / "goldens"
POLICIES: Final = ("guarded", "always", "detect")
HUNG_S: Final = 60.0
"""A try that takes longer counts as a process that died."""


class Kind(StrEnum):
    """What is tried."""

    ARGUMENTS = "arguments"
    """The catalogue of arguments of predict, each with every policy's file."""
    FILES = "files"
    """The catalogue of image and array files."""
    ARRAYS = "arrays"
    """Arrays drawn by chance."""
    DAMAGED = "damaged"
    """Image and array files damaged by chance."""


def catalogued(kind: Kind) -> int | None:
    """How many tries there are of a kind; None for those drawn by chance."""
    match kind:
        case Kind.ARGUMENTS:
            return len(POLICIES) * len(_arguments())
        case Kind.FILES:
            return len(_files())
    return None


def ask(kind: Kind, numbers: Iterator[int]) -> None:
    """Make tries; prints each number before its try, and its outcome (null: as defined) after it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        attempt = _attempt(kind, folder, stack)
        for number in numbers:
            print(number, flush=True)
            faulthandler.dump_traceback_later(HUNG_S, exit=True)
            said = attempt(number)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(said), flush=True)


def _attempt(kind: Kind, folder: Path, stack: ExitStack) -> Callable[[int], str | None]:
    sessions = [
        stack.enter_context(
            DefendedSession(GOLDENS / f"{policy}.onnx", device="cpu", threads=1, max_batch=MAX_BATCH)
        )
        for policy in POLICIES
    ]

    def argument(number: int) -> str | None:
        case = _arguments()[number // len(POLICIES)]
        return _named(case.name, complaint(sessions[number % len(POLICIES)], case, folder))

    def file(number: int) -> str | None:
        case = _files()[number]
        own = folder / str(number)
        own.mkdir()
        return _named(case.name, file_complaint(case, own))

    match kind:
        case Kind.ARGUMENTS:
            return argument
        case Kind.FILES:
            return file
        case Kind.ARRAYS:
            return lambda number: array_complaint(sessions[number % len(POLICIES)], number)
    return lambda number: drawn_complaint(number, folder)


def _named(name: str, said: str | None) -> str | None:
    return None if said is None else f"{name}: {said}"


def _arguments() -> list[Case]:
    return [case for case in (*KINDS, *ROWS) if not case.module or find_spec(case.module) is not None]


def _files() -> list[FileCase]:
    cases = (*IMAGE_FILES, *ARRAY_FILES)
    return [case for case in cases if not case.module or find_spec(case.module) is not None]


if __name__ == "__main__":
    ask(Kind(sys.argv[1]), iter(range(int(sys.argv[2]), int(sys.argv[3]))))
