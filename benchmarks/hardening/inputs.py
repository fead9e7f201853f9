"""Counts what comes of wrong inputs: arguments of predict, image and array files, a thousand files at once.

    python -m benchmarks.hardening.inputs [--arrays N] [--damaged N] [--quick] [--save]

The catalogues are those of the tests (tests/abuse/inputs), where every entry has a name and a defined answer:
a prediction, rows refused with a reason, or one InputError. Arrays of any dtype, shape, strides and bits, and
damaged image and array files, are drawn by chance, each against an oracle. All of it is asked for in other
processes; one that dies, or takes more than a minute for one input, is counted, and another goes on behind
the input that did it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.hardening.inputs_asked import HUNG_S, POLICIES, Kind, catalogued
from benchmarks.hardening.record import Count, Record, finish
from nip_runtime.session import DefendedSession
from tests.abuse.inputs.thousand import MODEL, expected_answers, thousand_images, write_thousand

COMMAND: Final = "python -m benchmarks.hardening.inputs"
ROOT: Final = Path(__file__).resolve().parents[2]
_WHAT: Final = {
    Kind.ARGUMENTS: "wrong and odd arguments of predict answered as defined",
    Kind.FILES: "wrong and odd image and array files answered as defined",
    Kind.ARRAYS: "arrays of any dtype, shape, strides and bits answered as defined",
    Kind.DAMAGED: "image and array files damaged by chance, read or refused with one error",
}


@dataclass(eq=False)
class Tally:
    """What came of the tries of one kind."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    died: list[str] = field(default_factory=list)

    @property
    def right(self) -> int:
        """Tries that were answered as defined."""
        return self.tried - len(self.wrong) - len(self.died)


def main() -> int:
    """Ask, count, print and perhaps save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arrays", type=int, default=20_000, help="arrays to draw (default: 20,000)")
    parser.add_argument("--damaged", type=int, default=50_000, help="files to damage (default: 50,000)")
    parser.add_argument("--quick", action="store_true", help="1,000 arrays and 3,000 files")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/hardening/inputs.json")
    args = parser.parse_args()
    if args.quick:
        args.arrays, args.damaged = 1_000, 3_000
    drawn = {Kind.ARRAYS: args.arrays, Kind.DAMAGED: args.damaged}
    began = time.monotonic()
    tallies = {kind: tally(kind, catalogued(kind) or drawn.get(kind, 0)) for kind in Kind}
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    due, right, lines = _thousand()
    record = _record(tallies, due, right, peak_mib, time.monotonic() - began, args)
    wrong = [said for one in tallies.values() for said in (*one.wrong, *one.died)]
    return finish(record, saves=args.save, notes=(*wrong, *lines))


def tally(kind: Kind, count: int) -> Tally:
    """Make tries 0…``count`` - 1 of a kind, in as many processes as it takes."""
    found = Tally()
    while found.tried < count:
        command = [
            sys.executable,
            "-m",
            "benchmarks.hardening.inputs_asked",
            kind,
            str(found.tried),
            str(count),
        ]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=_environment(),
        ) as process:
            assert process.stdout is not None
            is_asked = False
            for line in process.stdout:
                if not is_asked:
                    is_asked = True
                    continue
                is_asked = False
                found.tried += 1
                said = json.loads(line)
                if said is not None:
                    found.wrong.append(f"{kind} {found.tried - 1}: {said}")
                if found.tried % 500 == 0 or found.tried == count:
                    print(f"\r{kind}: {found.tried:,} of {count:,}", end="", file=sys.stderr, flush=True)
        if process.returncode != 0:
            if not is_asked and found.tried == 0:
                raise RuntimeError(
                    f"{' '.join(command)} ended with {process.returncode} before it asked anything"
                )
            found.died.append(f"{kind} {found.tried}: the process died or hung")
            found.tried += 1
    print(file=sys.stderr)
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "OPENCV_LOG_LEVEL": "SILENT", "OMP_NUM_THREADS": "1"}


def _thousand() -> tuple[int, int, list[str]]:
    """Run `nip predict` on the thousand files; answers due, those in their place, and what was wrong."""
    with DefendedSession(MODEL, device="cpu", threads=1) as session:
        expected = expected_answers(session.predict(thousand_images()).labels.tolist())
    with tempfile.TemporaryDirectory() as folder:
        write_thousand(Path(folder))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "nip_runtime.cli.main",
                "predict",
                MODEL,
                folder,
                "--json",
                "--device",
                "cpu",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=_environment(),
        )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = [(Path(line["file"]).name, line["index"], line.get("label")) for line in lines]
    wrong = [
        f"{MODEL.name}: expected {left}, got {right}"
        for left, right in zip(expected, found, strict=False)
        if left != right
    ]
    errors = [line for line in done.stderr.splitlines() if line.startswith("nip: error: ")]
    if done.returncode != 1 or len(found) != len(expected) or len(errors) != 4:
        wrong.append(f"exit code {done.returncode}, {len(found)} lines, {len(errors)} errors")
    return len(expected), max(0, len(expected) - len(wrong)), wrong


def _record(
    tallies: dict[Kind, Tally],
    due: int,
    right: int,
    peak_mib: float,
    seconds: float,
    args: argparse.Namespace,
) -> Record:
    died = sum(len(one.died) for one in tallies.values())
    tried = sum(one.tried for one in tallies.values())
    counts = (
        *(
            Count(
                what=what,
                value=tallies[kind].right,
                of=tallies[kind].tried,
                wanted="all",
                met=tallies[kind].right == tallies[kind].tried,
            )
            for kind, what in _WHAT.items()
        ),
        Count(
            what=f"processes that died, or took more than {HUNG_S:g} s for one of these",
            value=died,
            of=tried,
            wanted="none",
            met=died == 0,
        ),
        Count(
            what="inputs answered or reported in their place by nip predict, three of a thousand images "
            "unreadable and a row of an array NaN",
            value=right,
            of=due,
            wanted="all",
            met=right == due,
        ),
        Count(what="most memory that one of these processes held", value=round(peak_mib), unit="MiB"),
    )
    return Record(
        name="inputs",
        command=f"{COMMAND} --arrays {args.arrays} --damaged {args.damaged}",
        counts=counts,
        details={
            "seconds": round(seconds, 1),
            "policies": list(POLICIES),
            "ways to treat bad rows": "raise and skip, each argument both",
        },
    )


if __name__ == "__main__":
    sys.exit(main())
