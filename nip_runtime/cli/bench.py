"""``nip bench``: how fast a defended file is, beside its own backbone without the defence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from nip_runtime.cli.bench_text import report_lines
from nip_runtime.cli.progress import Progress
from nip_runtime.errors import InputError
from nip_runtime.operate.bench.plan import (
    DEFAULT_OPENINGS,
    DEFAULT_SECONDS,
    DEFAULT_TOLERANCE,
    BenchPlan,
    EngineChoice,
)
from nip_runtime.operate.bench.run import run_bench
from nip_runtime.support.options import add_device
from nip_runtime.support.writing import check_target, write_whole

NAME: Final = "bench"
HELP: Final = "time a defended file beside its own backbone without the defence"
_STDOUT: Final = "-"
_OPTIONS: Final = {"batches": "--batch", "shares": "--second-pass"}
"""How users name the fields of a plan, where not by its name."""

T = TypeVar("T", int, float)


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Times a defended file beside ONE plain onnxruntime pass of the same backbone,\n"
        "cut out of the same file. Every round runs every case once, in another order;\n"
        "a ratio is taken within each round, and its median is what counts.\n\n"
        "  model          plain; fused: the whole graph in one session; gated: the\n"
        "                 backbone run again on rows that the host picks\n"
        "  second pass    rows of the batch that take the second pass: the screen's cut\n"
        "                 is moved, in memory, so that exactly these do\n"
        "  p50, p95, p99  latency of one run: half of the rounds took at most p50\n"
        "  images/s       at the median\n"
        "  x plain        time over the plain pass: median and its 95 % interval\n"
        "  passes         passes per row that the policy states: 1, and 1 more for each\n"
        "                 row in the second pass\n"
        "  x per pass     x plain over passes: 1 is the floor\n\n"
        "Below that, from fresh processes: size of the file, time to open it, memory\n"
        "that opening adds, and that it and a first run add; and what\n"
        "DefendedSession.predict adds to the bare run of one row."
    )
    parser.epilog = (
        "examples:\n"
        "  nip bench model.nip.onnx\n"
        "  nip bench model.nip.onnx --batch 1,32 --second-pass 0,0.4 --engine both\n"
        "  nip bench model.nip.onnx --against backbone.onnx --json bench.json\n"
        "  nip bench model.nip.onnx --json - | jq '.timed[].ratio.median'\n\n"
        "Other work on the machine widens the intervals; --threads 1 is steadiest.\n"
        "exit code: 0 measured, 2 wrong usage or file"
    )
    parser.add_argument("model", metavar="F.onnx", help="defended file, made by `nip export`")
    parser.add_argument(
        "--batch",
        metavar="N,…",
        type=_whole_numbers,
        default=(1, 16, 64),
        help="rows per run (default 1,16,64)",
    )
    parser.add_argument(
        "--second-pass",
        metavar="S,…",
        type=_shares,
        default=None,
        help="shares of the rows that take the second pass (default: none, as many as of the file's benign"
        " images, all); a file without a screen sends all rows there",
    )
    # Its name in 0.1.0: what the gate flags is another, smaller share.
    parser.add_argument("--flagged", dest="second_pass", type=_shares, help=argparse.SUPPRESS)
    parser.add_argument(
        "--engine",
        choices=[str(choice) for choice in EngineChoice],
        default="auto",
        help="auto (default: what DefendedSession takes), fused, gated or both",
    )
    add_device(parser)
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads for one run (default: the cores that may be used)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PLAIN.onnx",
        help="compare with this file of the same backbone instead of the part of F.onnx",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=DEFAULT_TOLERANCE,
        metavar="R",
        help="how far its logits may differ from F.onnx's raw logits, as a share of the largest"
        f" (default {DEFAULT_TOLERANCE:g})",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="images, folders or arrays to run on (default: random inputs within the bounds)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--rounds", type=int, metavar="N", help="rounds per batch size")
    length.add_argument(
        "--seconds",
        type=float,
        default=DEFAULT_SECONDS,
        metavar="S",
        help=f"time for the rounds in all (default {DEFAULT_SECONDS:g}); large models take longer,"
        " since every batch size gets some rounds",
    )
    parser.add_argument(
        "--openings",
        type=int,
        default=DEFAULT_OPENINGS,
        metavar="N",
        help="fresh processes per model that tell opening time and memory"
        f" (default {DEFAULT_OPENINGS}; 0 leaves it out)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write it all as JSON too; - for stdout, without the table"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    target = _json_target(args.json)
    plan, progress = _plan(args), Progress(sys.stderr)
    try:
        report = run_bench(plan, progress)
    finally:
        progress.clear()
    if args.json == _STDOUT:
        print(report.to_json())
        return 0
    print("\n".join(report_lines(report)))
    if target is not None:
        write_whole(target, f"{report.to_json()}\n".encode())
    return 0


def _plan(args: argparse.Namespace) -> BenchPlan:
    try:
        return BenchPlan(
            path=Path(args.model),
            batches=args.batch,
            shares=args.second_pass,
            device=args.device,
            engine=EngineChoice(args.engine),
            against=args.against,
            tolerance=args.tolerance,
            data=tuple(args.data),
            rounds=args.rounds,
            seconds=args.seconds,
            threads=args.threads,
            openings=args.openings,
        )
    except ValueError as error:
        field, _, problem = str(error).partition(": ")
        option = _OPTIONS.get(field, f"--{field}")
        raise InputError(f"{option}: {problem} (see nip bench --help)") from error


def _whole_numbers(text: str) -> tuple[int, ...]:
    return _numbers(text, int, "whole numbers such as 1,16,64")


def _shares(text: str) -> tuple[float, ...]:
    return _numbers(text, float, "shares such as 0,0.05,1")


def _numbers(text: str, kind: Callable[[str], T], expected: str) -> tuple[T, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from error


def _json_target(text: str | None) -> Path | None:
    """Where the JSON goes. A folder that is not there is noticed now, not after minutes of measuring."""
    if text is None or text == _STDOUT:
        return None
    path = Path(text)
    check_target(path)
    return path
