"""Measures everything on a GPU in one command of eight minutes at most.

    python -m benchmarks.gpu.run --parts PARTS --out OUT                  # cuda:0, the full plan
    python -m benchmarks.gpu.run --parts PARTS --out OUT --device cpu     # a dry run: every step, little work

PARTS is the folder that `benchmarks.gpu.receive` filled, or that `benchmarks.gpu.prepare` wrote. Every step
runs in a process of its own with a time limit of its own; one that dies or is ended takes no other with it.
What a step finds stands in OUT as soon as it is there, in at most eight files, so that a run that is cut off
loses only what had not begun. Nothing of the machine's own Python is touched.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.gpu.plan import PLANS, RUN_LIMIT_S, PlanName, Step, Turn
from benchmarks.gpu.results import FILES, Book, Outcome
from benchmarks.gpu.step import CPU, ROOT, command, environment

LOG: Final = "log.txt"
LAST_LINES: Final = 12
NOT_BEGUN: Final = "not begun: the parts were not unpacked"


def run(turn: Turn, words: Sequence[str], *, work: Path, log: Path) -> Outcome:
    """Run one process until it ends or its time is over; whatever it started ends with it.

    Args:
        turn: whose limit and name count.
        words: the command.
        work: folder of the unpacked parts.
        log: file that takes what it writes.
    """
    began = time.monotonic()
    with log.open("ab") as file:
        file.write(f"\n=== {turn.name}, at most {turn.limit_s:g} s\n".encode())
        file.flush()
        start = file.tell()
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment(work), stdout=file, stderr=file, start_new_session=True
        )
        try:
            code = process.wait(turn.limit_s)
            problem = "" if code == 0 else _ended(code)
        except subprocess.TimeoutExpired:
            problem = f"ended after its limit of {turn.limit_s:g} s"
        finally:
            _end(process)
    if problem:
        said = log.read_bytes()[start:].decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
        problem = "\n".join([problem, *said])
    return Outcome(
        name=turn.name, limit_s=turn.limit_s, seconds=round(time.monotonic() - began, 2), problem=problem
    )


def _ended(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started: the group is its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_all(*, parts: Path, out: Path, device: str, plan: PlanName, work: Path) -> int:
    """Run all steps in their order; gives the number of those that did not end well."""
    out.mkdir(parents=True, exist_ok=True)
    for stem in FILES:
        (out / f"{stem}.json").unlink(missing_ok=True)
    log, book, bad = out / LOG, Book(out, FILES[0]), 0
    log.write_bytes(b"")
    installed = True
    for turn in PLANS[plan].turns():
        if not installed:
            outcome = Outcome(name=turn.name, limit_s=turn.limit_s, seconds=0.0, problem=NOT_BEGUN)
        else:
            words = command(turn, parts=parts, work=work, out=out, device=device, plan=plan)
            outcome = run(turn, words, work=work, log=log)
        book.add(outcome)
        installed = installed and not (turn.step is Step.INSTALL and outcome.problem)
        bad += bool(outcome.problem)
        print(f"{turn.name:<22}{outcome.seconds:6.1f} s  {outcome.problem or 'done'}", flush=True)
    return bad


def main(arguments: Sequence[str] | None = None) -> int:
    plans = "; ".join(f"{name}: {plan.limit_s:g} s" for name, plan in PLANS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"limits of all steps together: {plans}. A run on a GPU may take {RUN_LIMIT_S} s.",
    )
    parser.add_argument("--parts", type=Path, required=True, metavar="FOLDER", help="parts and manifest.json")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where results go")
    parser.add_argument("--device", default="cuda:0", help="cuda:N or cpu (default: %(default)s)")
    parser.add_argument(
        "--plan", type=PlanName, choices=list(PlanName), help="default: full on a GPU, small on a CPU"
    )
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="kept, instead of a temporary folder")
    told = parser.parse_args(arguments)
    plan = told.plan or (PlanName.SMALL if told.device == CPU else PlanName.FULL)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nip-gpu-") as temporary:
        work = (told.work or Path(temporary) / "work").absolute()
        bad = run_all(
            parts=told.parts.absolute(), out=told.out.absolute(), device=told.device, plan=plan, work=work
        )
    print(f"{time.monotonic() - began:.0f} s in all; {bad} steps did not end well; results in {told.out}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
