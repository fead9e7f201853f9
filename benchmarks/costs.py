"""Time and memory of one defended file beside its own network, by `nip bench`, kept for a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nip_export.support.progress import progress_lines
from nip_runtime.operate.bench.plan import BenchPlan
from nip_runtime.operate.bench.report import BenchReport, read_report
from nip_runtime.operate.bench.run import run_bench
from nip_runtime.support.writing import write_whole

BATCHES = (1, 16)
SECONDS = 30.0
OPENINGS = 25
"""Fresh processes for each opener: a tenth of a second varies by half on a shared machine."""


def measure(file: Path, into: Path) -> BenchReport:
    """One CPU thread, the engine that auto takes, random inputs; writes the report into a JSON file."""
    plan = BenchPlan(path=file, batches=BATCHES, device="cpu", threads=1, seconds=SECONDS, openings=OPENINGS)
    report = replace(run_bench(plan, progress_lines(print)), file=file.name)
    into.parent.mkdir(parents=True, exist_ok=True)
    write_whole(into, f"{report.to_json()}\n".encode())
    return report


def read(path: Path) -> BenchReport | None:
    """What was measured; None: nothing yet."""
    return read_report(path.read_text(encoding="utf-8")) if path.is_file() else None


def ratios(report: BenchReport, batch: int) -> Iterator[str]:
    """Time over that of the plain pass, by how many of the rows take the second pass."""
    for timed in report.timed:
        if timed.batch == batch and timed.ratio is not None:
            yield f"{timed.ratio.median:.2f} ({timed.second_pass_rows} of {batch})"


@dataclass(frozen=True)
class Opening:
    """What opening the file costs, over the plain model's.

    Attributes:
        memory: that opening adds.
        with_run: memory that opening and a first run add.
        time: of opening.
        size: of the file.
    """

    memory: float
    with_run: float
    time: float
    size: float


def opening(report: BenchReport) -> Opening:
    """The file beside the plain model."""
    plain, defended = report.opened[0], report.opened[1]
    assert defended.added_ratio is not None and defended.opening_ratio is not None
    return Opening(
        memory=defended.added_ratio,
        with_run=defended.added_after_run_bytes / plain.added_after_run_bytes,
        time=defended.opening_ratio.median,
        size=report.file_bytes / plain.file_bytes,
    )


def told(reports: Sequence[BenchReport]) -> str:
    """Under what speed was measured."""
    loads = [report.machine.load for report in reports if report.machine.load is not None]
    busy = f"; load of others at the start {max(loads):.1f} at most" if loads else ""
    engines = ", ".join(sorted({str(report.auto_engine) for report in reports}))
    return (
        "In brackets: rows that take the second pass. One CPU thread, the engine that auto takes "
        f"({engines}), medians of paired rounds{busy}."
    )
