"""One session in many threads: are its answers those of one thread, bit for bit?

    python -m benchmarks.hardening.soak [--threads 16] [--seconds 60] [--quick] [--save]

For each engine, one session of each golden file (policies guarded, detect, always) is used by all threads
at once: batches of 1 to 64 rows, benign and attacked ones mixed, and memory given back now and then. Every
answer is compared with what one thread answered before.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import Final

from benchmarks.hardening.record import Count, Record, command_line, finish
from benchmarks.hardening.traffic import MOST_ROWS, POLICIES, Tally, golden_pool, hammer
from nip_runtime import DefendedSession, SessionSettings
from nip_runtime.cli.progress import Progress
from nip_runtime.run.providers import Spinning

ENGINES: Final = ("fused", "gated")
_QUICK_S: Final = 2.0


def soak(engine: str, *, threads: int, seconds: float) -> Tally:
    """Hammer one session per golden file, all with the same engine."""
    # Idle threads of three sessions would wait actively for each other's cores.
    settings = SessionSettings(threads=2, spinning=Spinning.WITHIN_RUN)
    with ExitStack() as stack:
        sessions = []
        for policy in POLICIES:
            path, pool = golden_pool(policy)
            session = stack.enter_context(
                DefendedSession(path, device="cpu", engine=engine, settings=settings)
            )
            sessions.append((session, pool))
        return hammer(sessions, threads=threads, seconds=seconds)


def record(tallies: dict[str, Tally], *, threads: int, seconds: float) -> Record:
    """The counts to show."""
    counts = []
    for engine, tally in tallies.items():
        counts += [
            Count(
                what=f"engine {engine}: batches that {threads} threads in one session answered as one thread"
                " did, bit for bit",
                value=tally.batches - tally.mismatches,
                of=tally.batches,
                wanted="all",
                met=tally.mismatches == 0 and tally.batches > 0,
            ),
            Count(
                what=f"engine {engine}: errors",
                value=len(tally.errors),
                wanted="none",
                met=not tally.errors,
            ),
            Count(what=f"engine {engine}: rows flagged", value=tally.flagged, of=tally.rows),
        ]
    minutes = f"{threads * seconds / 60:g}"
    return Record(
        name="soak",
        command=command_line("soak"),
        counts=(
            Count(what="threads × minutes per engine", value=float(minutes), unit="thread minutes"),
            *counts,
        ),
        details={
            "threads": threads,
            "seconds": seconds,
            "rows per batch": f"1 to {MOST_ROWS}",
            "files": [f"{policy}.onnx" for policy in POLICIES],
            "errors": sorted({said for tally in tallies.values() for said in tally.errors})[:10],
        },
    )


def main() -> int:
    """Run the command; 1 if an answer was wrong or missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=16, help="that use the session at once (16)")
    parser.add_argument("--seconds", type=float, default=60.0, help="per engine (60)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_S:g} seconds per engine")
    parser.add_argument(
        "--save", action="store_true", help="write the counts to benchmarks/results/hardening"
    )
    args = parser.parse_args()
    seconds = _QUICK_S if args.quick else args.seconds
    progress = Progress(sys.stderr)
    stage = progress("Soaking both engines", len(ENGINES))
    tallies = {}
    for engine in ENGINES:
        tallies[engine] = soak(engine, threads=args.threads, seconds=seconds)
        stage(1)
    found = record(tallies, threads=args.threads, seconds=seconds)
    return finish(found, saves=args.save)


if __name__ == "__main__":
    sys.exit(main())
