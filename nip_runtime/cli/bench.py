"""``nip bench``: how fast a defended file is, beside its own backbone without the defence."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TextIO, TypeVar

from nip_runtime.bench.machine import Machine
from nip_runtime.bench.plan import (
    DEFAULT_OPENINGS,
    DEFAULT_SECONDS,
    DEFAULT_TOLERANCE,
    BenchPlan,
    EngineChoice,
)
from nip_runtime.bench.report import BenchReport, Contender, Opened, Timed
from nip_runtime.bench.rounds import Spread
from nip_runtime.bench.run import run_bench
from nip_runtime.errors import InputError

NAME: Final = "bench"
HELP: Final = "time a defended file beside its own backbone without the defence"
_STDOUT: Final = "-"
_PROGRESS_INTERVAL_S: Final = 0.2
_MIB: Final = 1 << 20
_BUSY_SHARE: Final = 0.5
"""Of the cores: with more processes than that at work before the bench began, say so."""
_BUSY: Final = (
    "note     others were at work on this machine: expect wide intervals, and measure again when it is quiet"
)

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
        "  nip bench model.nip.onnx --batch 1,32 --flagged 0,0.1 --engine both\n"
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
        "--flagged",
        metavar="S,…",
        type=_shares,
        default=(0.0, 0.05, 1.0),
        help="shares of the rows that take the second pass (default 0,0.05,1); a file without a screen"
        " sends all rows there",
    )
    parser.add_argument(
        "--engine",
        choices=[str(choice) for choice in EngineChoice],
        default="auto",
        help="auto (default: what DefendedSession takes), fused, gated or both",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="auto (default), cpu, cuda or cuda:1; auto falls back to cpu",
    )
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
        help=f"time for the rounds in all (default {DEFAULT_SECONDS:g}); large models take longer, for every"
        " batch size gets some",
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
    plan, progress = _plan(args), _Progress(sys.stderr)
    try:
        report = run_bench(plan, progress)
    finally:
        progress.clear()
    if args.json == _STDOUT:
        print(report.to_json())
        return 0
    print("\n".join(_lines(report)))
    if target is not None:
        _write(target, report.to_json() + "\n")
    return 0


def _plan(args: argparse.Namespace) -> BenchPlan:
    try:
        return BenchPlan(
            path=Path(args.model),
            batches=args.batch,
            shares=args.flagged,
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
        raise InputError(f"{error} (see nip bench --help)") from error


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
    if path.is_dir() or not path.parent.is_dir():
        raise InputError.mismatch(
            expected=f"a file to write at {path}",
            got="a folder" if path.is_dir() else f"no folder {path.parent}",
            fix="name another one",
        )
    return path


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError.mismatch(
            expected=f"to write {path}", got=str(error), fix="name another file with --json"
        ) from error


def _lines(report: BenchReport) -> list[str]:
    machine = report.machine
    threads = f"{report.threads} CPU thread{'s' * (report.threads > 1)}"
    plain = report.plain or "the part of the same file up to its raw logits"
    load = "" if machine.load is None else f", load {machine.load:.2f} before"
    lines = [
        f"file     {report.file}: policy {report.policy}, {report.precision}, {_size(report.file_bytes)},"
        f" of which bank {_size(report.bank_bytes)}, read-outs {_size(report.readout_bytes)}",
        f"plain    {plain}; its logits differ by {report.agreement.relative:.1g} of the largest"
        f" ({report.agreement.images} inputs)",
        f"device   {report.device} ({report.provider}), {threads}",
        *([f"engine   auto takes {report.auto_engine}: {report.auto_why}"] if report.auto_engine else []),
        f"machine  {machine.cpu}, {machine.cores} cores{f', {machine.gpu}' if machine.gpu else ''}{load}",
        f"         {machine.system}, Python {machine.python}, onnxruntime {machine.onnxruntime},"
        f" numpy {machine.numpy}",
        *([] if _is_quiet(machine) else [_BUSY]),
        "",
        *_timed_table(report.timed),
    ]
    if not report.has_screen:
        lines.append(f"policy {report.policy} has no screen here: every row takes both passes")
    if report.opened:
        lines += ["", *_opened_table(report.opened)]
    if report.overhead is not None:
        lines += [
            "",
            f"DefendedSession.predict adds {_us(report.overhead.added_us)} to the bare run of one row"
            f" ({report.overhead.rounds} calls of {report.overhead.predict_us.median / 1e3:.3f} ms)",
        ]
    return lines


def _is_quiet(machine: Machine) -> bool:
    return machine.load is None or machine.load < _BUSY_SHARE * machine.cores


def _timed_table(timed: Sequence[Timed]) -> list[str]:
    header = ("batch", "model", "second pass", "p50 ms", "p95 ms", "p99 ms", "images/s", "rounds")
    rows: list[tuple[str, ...]] = [(*header, "x plain", "passes", "x per pass")]
    for one in timed:
        latency = one.latency
        is_plain = one.contender is Contender.PLAIN
        rows.append(
            (
                str(one.batch),
                str(one.contender),
                "-" if is_plain else f"{one.second_pass_rows} of {one.batch}",
                *(f"{value:.3f}" for value in (latency.p50_ms, latency.p95_ms, latency.p99_ms)),
                f"{one.images_per_s:.0f}",
                str(latency.rounds),
                _ratio(one.ratio),
                f"{one.passes_per_row:.2f}",
                _ratio(one.ratio_per_pass),
            )
        )
    return _aligned(rows, left=(1,))


def _opened_table(opened: Sequence[Opened]) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("opened as", "file", "x plain", "opening ms", "x plain", "memory added", "x plain", "after a run")
    ]
    plain = opened[0]
    for one in opened:
        rows.append(
            (
                str(one.opener),
                _size(one.file_bytes),
                f"{one.file_bytes / plain.file_bytes:.2f}",
                f"{one.opening_ms.median:.1f}",
                _ratio(one.opening_ratio),
                _size(one.added_bytes),
                "-" if one.added_ratio is None else f"{one.added_ratio:.2f}",
                _size(one.added_after_run_bytes),
            )
        )
    return _aligned(rows, left=(0,))


def _aligned(rows: Sequence[tuple[str, ...]], *, left: tuple[int, ...]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _ratio(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:.3f} [{spread.low:.3f}, {spread.high:.3f}]"


def _us(spread: Spread) -> str:
    return f"{spread.median:.0f} µs [{spread.low:.0f}, {spread.high:.0f}]"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB" if size_bytes >= _MIB else f"{size_bytes / 1024:.1f} KiB"


class _Progress:
    """How far each stage is, and its time left, on a terminal's last line; elsewhere one line per stage."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def __call__(self, stage: str, total: int) -> Callable[[int], None]:
        """Begin a stage."""
        if not self._is_terminal:
            if total > 1:
                print(f"{stage} ({total} times)", file=self._stream)
            return lambda amount: None
        start, last, done = time.monotonic(), 0.0, 0

        def advance(amount: int) -> None:
            nonlocal last, done
            done += amount
            now = time.monotonic()
            if done == total:
                self._show("")
            elif now - last >= _PROGRESS_INTERVAL_S:
                last = now
                left_s = (now - start) / done * (total - done)
                self._show(f"{stage}: {done} of {total} rounds, {left_s:.0f} s left")

        self._show(f"{stage} …")
        return advance

    def clear(self) -> None:
        """Leave the line to whoever writes next."""
        if self._is_terminal:
            self._show("")

    def _show(self, text: str) -> None:
        self._stream.write(f"\r\033[K{text}")
        self._stream.flush()
