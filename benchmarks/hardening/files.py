"""Tries every bad file of the catalogue, each in a process of its own, through all doors.

    python -m benchmarks.hardening.files [--quick] [--save]

The doors are `DefendedSession`, `nip inspect` and `nip predict`. A file is refused as it should be if each
says one error that names the cause, onnxruntime is not even loaded, and the process ends on its own. Then
every single bit outside the graph of a golden file is flipped, and bits inside it: each flip must be
refused, or leave graph and interface as they were.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.hardening.record import Count, Record, command_line, finish
from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import check_content
from tests.abuse.files.bad_file import BadFile
from tests.abuse.files.catalogue import BAD_FILES
from tests.abuse.files.seal import golden

LONGEST_S: Final = 20
MEMORY_BYTES: Final = 2 << 30
_QUICK_FLIPS: Final = 2000
_INSIDE: Final = 20_000


@dataclass(frozen=True)
class Outcome:
    """What came of one bad file.

    ``problem`` is "" if it was refused as it should be; ``died`` whether a signal ended its process.
    """

    name: str
    problem: str
    died: bool
    seconds: float


def main() -> int:
    """Try, print and perhaps save."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_FLIPS} flipped bits")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/hardening/files.json")
    args = parser.parse_args()
    outcomes = []
    for index, bad in enumerate(BAD_FILES, 1):
        outcomes.append(try_file(bad))
        print(f"\r{index} of {len(BAD_FILES)} bad files", end="", file=sys.stderr, flush=True)
    flips = _flips(_QUICK_FLIPS if args.quick else None)
    print(file=sys.stderr)
    record = _record(outcomes, flips)
    wrong = [f"{outcome.name}: {outcome.problem}" for outcome in outcomes if outcome.problem]
    return finish(record, saves=args.save, notes=wrong)


def try_file(bad: BadFile) -> Outcome:
    """Open one file in a forked process and hear what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = bad.place(Path(folder))
        reading, writing = os.pipe()
        began = time.perf_counter()
        child = os.fork()
        if child == 0:
            _answer(bad, path, Path(folder), writing)
        os.close(writing)
        with os.fdopen(reading) as answer:
            said = answer.read()
        _, status = os.waitpid(child, 0)
        seconds = time.perf_counter() - began
    died = os.WIFSIGNALED(status)
    problem = f"signal {os.WTERMSIG(status)}" if died else said or "it ended without a word"
    return Outcome(bad.name, "" if problem == "refused" else problem, died, seconds)


def _answer(bad: BadFile, path: Path, folder: Path, writing: int) -> None:
    """In the child: try all doors, say what came of it, and end."""
    signal.alarm(LONGEST_S)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        said = _through_all_doors(bad, path, folder)
    except BaseException as error:  # whatever else comes is the answer
        said = f"{type(error).__name__}: {error}"
    os.write(writing, said.encode(errors="replace")[:4000])
    os._exit(0)


def _through_all_doors(bad: BadFile, path: Path, folder: Path) -> str:
    from nip_runtime.cli.main import main as nip
    from nip_runtime.session import DefendedSession

    try:
        DefendedSession(path, device="cpu")
    except ArtifactError as error:
        message = str(error)
    else:
        return "opened"
    if not (re.search(bad.says, message) and "expected" in message and message.isprintable()):
        return f"unclear: {message}"
    images = folder / "images.npy"
    np.save(images, np.zeros((1, 28, 28), np.uint8))
    for arguments, code in (
        (["inspect", str(path)], 0 if bad.shown else 2),
        (["predict", str(path), str(images)], 2),
    ):
        ended, errors = _run_quietly(nip, arguments)
        if ended != code or (code == 2 and errors != f"nip: error: {message}\n"):
            return f"nip {arguments[0]}: exit code {ended}, errors: {errors}"
    return "onnxruntime was loaded" if "onnxruntime" in sys.modules else "refused"


def _run_quietly(nip: Callable[[list[str]], int], arguments: list[str]) -> tuple[int, str]:
    """Exit code of a command, and what it wrote as errors."""
    errors = StringIO()
    with redirect_stderr(errors), redirect_stdout(StringIO()):
        code = nip(arguments)
    return code, errors.getvalue()


def _flips(most: int | None) -> Counter[str]:
    """Flip single bits of a golden file and count what came of each."""
    content, here = golden(), Path("flipped.onnx")
    good = check_content(content, here)
    start, stop = good.container.graph_range
    rng, counts = random.Random(0), Counter[str]()
    outside = [(place, bit) for place in (*range(start), *range(stop, len(content))) for bit in range(8)]
    inside = [(rng.randrange(start, stop), rng.randrange(8)) for _ in range(_INSIDE)]
    if most is not None:
        outside, inside = rng.sample(outside, most // 2), inside[: most // 2]
    for done, (place, bit) in enumerate((*outside, *inside), 1):
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        try:
            found = check_content(bytes(changed), here)
        except ArtifactError:
            counts["refused"] += 1
        except Exception as error:
            counts[f"{type(error).__name__} at bit {8 * place + bit}"] += 1
        else:
            same = (
                found.container.graph_digest == good.container.graph_digest
                and found.manifest.input.bounds == good.manifest.input.bounds
                and found.manifest.input.shape == good.manifest.input.shape
                and found.manifest.policy == good.manifest.policy
            )
            counts["passed, nothing that runs was changed" if same else "passed, changed"] += 1
        if done % 500 == 0:
            print(f"\r{done} of {len(outside) + len(inside)} bits", end="", file=sys.stderr, flush=True)
    return counts


def _record(outcomes: list[Outcome], flips: Counter[str]) -> Record:
    tried, died = len(outcomes), sum(outcome.died for outcome in outcomes)
    refused = sum(not outcome.problem for outcome in outcomes)
    flipped, fine = flips.total(), flips["refused"] + flips["passed, nothing that runs was changed"]
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    return Record(
        name="files",
        command=command_line("files"),
        counts=(
            Count(
                what="bad files refused by every door with one error that names the cause",
                value=refused,
                of=tried,
                wanted="all",
                met=refused == tried,
            ),
            Count(
                what="processes that died of a bad file", value=died, of=tried, wanted="none", met=died == 0
            ),
            Count(what="single bits flipped", value=flipped),
            Count(what="flipped bits refused", value=flips["refused"], of=flipped),
            Count(
                what="flipped bits that passed and changed what runs, or ended in another error",
                value=flipped - fine,
                of=flipped,
                wanted="none",
                met=flipped == fine,
            ),
        ),
        details={
            "slowest": f"{slowest.name}, {slowest.seconds:.2f} s through three doors",
            "limit on each": f"{LONGEST_S} s, {MEMORY_BYTES >> 30} GiB of address space",
            "flips": dict(flips),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
