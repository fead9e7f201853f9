"""The report of ``nip bench`` as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nip_runtime.operate.bench.machine import Machine
from nip_runtime.operate.bench.report import BenchReport, Contender, Opened, Timed
from nip_runtime.operate.bench.rounds import Spread

_MIB: Final = 1 << 20
_BUSY_SHARE: Final = 0.5
"""Of the cores: with more processes than that at work before the bench began, say so."""
_BUSY: Final = (
    "note     others were at work on this machine: expect wide intervals, and measure again when it is quiet"
)


def report_lines(report: BenchReport) -> list[str]:
    """The whole report, line by line."""
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
