"""Throws changed files at the door for files, and runs those that pass it.

    python -m benchmarks.hardening.fuzz [--executions N] [--minutes M] [--save]

Bytes and fields of small defended files are changed at random, nine times out of ten under a digest that fits
again, so that most changes reach what lies behind the digest. Every file must be refused with one
ArtifactError or pass; files that pass are opened and run by onnxruntime in a process of its own, as many as
there is time for. Files with which anything else happens are kept, and make the exit code 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.hardening.fuzz_check import MEMORY_BYTES, WALL_S, Findings, fuzz
from benchmarks.hardening.record import Count, Record, finish

COMMAND: Final = "python -m benchmarks.hardening.fuzz"
_QUICK: Final = 20_000
_BLOCK: Final = 5_000


def main() -> int:
    """Fuzz, print and perhaps save."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--executions", type=int, default=400_000, help="files to make (default: 400,000)")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the first file (default: 0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--keep", type=Path, help="folder for files that something is wrong with")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK:,} files")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/hardening/fuzz.json")
    args = parser.parse_args()
    keep = args.keep or Path(tempfile.mkdtemp(prefix="nip-fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    executions = _QUICK if args.quick else args.executions
    began = time.monotonic()
    found = _fuzz(args.seed, executions, began + 60 * args.minutes, args.jobs, keep)
    record = _record(found, time.monotonic() - began, args)
    return finish(record, saves=args.save, notes=(*found.failures, *found.deaths))


def _fuzz(seed: int, executions: int, until: float, jobs: int, keep: Path) -> Findings:
    total = Findings()
    blocks = [min(_BLOCK, executions - start) for start in range(0, executions, _BLOCK)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        tasks = [pool.submit(fuzz, seed + index, size, until, str(keep)) for index, size in enumerate(blocks)]
        for task in tasks:
            _add(total, task.result())
            print(
                f"\r{total.executions:,} of {executions:,} files, {total.opened:,} passed,"
                f" {sum(total.runs.values()):,} of them run",
                end="",
                file=sys.stderr,
                flush=True,
            )
    print(file=sys.stderr)
    return total


def _add(total: Findings, found: Findings) -> None:
    total.executions += found.executions
    total.opened += found.opened
    total.reasons += found.reasons
    total.slowest_s = max(total.slowest_s, found.slowest_s)
    total.failures += found.failures
    total.runs += found.runs
    total.deaths += found.deaths


def _record(found: Findings, seconds: float, args: argparse.Namespace) -> Record:
    refused = found.executions - found.opened - len(found.failures)
    run, died = sum(found.runs.values()), found.runs["died"]
    counts = (
        Count(what="fuzzed files tried", value=found.executions),
        Count(what="fuzzed files refused with one clear error", value=refused, of=found.executions),
        Count(what="fuzzed files that passed the check", value=found.opened, of=found.executions),
        Count(
            what="checks that ended otherwise, or took too long or too much memory",
            value=len(found.failures),
            of=found.executions,
            wanted="none",
            met=not found.failures,
        ),
        Count(what="files that passed and were opened and run", value=run, of=found.opened),
        Count(what="of these answered", value=found.runs["ran"], of=run),
        Count(
            what="of these refused by onnxruntime, as one of our errors", value=found.runs["refused"], of=run
        ),
        Count(what="of these ended in an error of onnxruntime's", value=found.runs["other error"], of=run),
        Count(what="processes died or hung", value=died, of=run, wanted="none", met=died == 0),
    )
    return Record(
        name="fuzz",
        command=f"{COMMAND} --executions {found.executions} --seed {args.seed}",
        counts=counts,
        details={
            "seconds": round(seconds, 1),
            "processes": args.jobs,
            "slowest check, seconds": round(found.slowest_s, 3),
            "limit on a check": f"{WALL_S:g} s, {MEMORY_BYTES >> 30} GiB of address space",
            "reasons": dict(Counter(found.reasons).most_common(60)),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
