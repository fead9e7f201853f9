"""Writes the tables of what hardening counted, so that no number in them is typed by hand.

python -m benchmarks.hardening.table            # into docs/hardening.md and benchmarks/hardening/README.md
python -m benchmarks.hardening.table --check    # exit 1 if they differ from the committed results
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.hardening.record import Count, Saved, read_all
from benchmarks.markdown import Block, only_checks, table, update

ROOT: Final = Path(__file__).resolve().parents[2]
ALL: Final = Path(__file__).resolve().parent / "README.md"
BLOCK: Final = Block(
    "<!-- hardening tables: written by benchmarks/hardening/table.py -->\n",
    "<!-- end of hardening tables -->\n",
)

HEADLINES: Final = {
    "bulk": (
        "local: workers killed",
        "local: drivers killed",
        "local: shards lost",
        "local: rows that differ",
        "dask: workers killed",
        "dask: drivers killed",
        "dask: shards lost",
        "dask: rows that differ",
    ),
    "drift": (
        "false alarms in benign streams of 100000 rows, flag rate at the upper edge",
        "median rows until the warning at 3 × the benign rate, after 50000",
        "false alarms in streams of 100000 benign test images, interval from the manifest",
        "warnings within 100000 rows with 2% of the rows attacked, interval from the manifest",
        "median rows until the warning with 5% of the rows attacked, interval from the manifest",
    ),
    "edge": ("installed, by the recipe", "cold start to first answer, by the recipe"),
    "export_faults": (
        "kills across whole exports: the file is whole",
        "kills across the writing: the file is whole",
        "kills across the rename: the file is whole",
        "full disks and size limits: the old file intact",
    ),
    "files": ("bad files refused", "processes that died", "flipped bits that passed"),
    "fuzz": ("fuzzed files tried", "checks that ended otherwise", "processes died"),
    "inputs": (
        "wrong and odd arguments",
        "wrong and odd image and array files",
        "arrays of any dtype",
        "image and array files damaged",
        "processes that died",
        "inputs answered or reported",
    ),
    "memory": (
        "10000 mixed batches, 1 thread: resident memory after warm-up to the highest",
        "10000 mixed batches, 4 threads: resident memory after warm-up to the highest",
    ),
    "provider_faults": ("faulty installations for which", "sessions on CUDA refused"),
    "scaling": (
        "local: rows per second with 2 workers over 1",
        "dask: rows per second with 2 workers over 1",
    ),
    "serving": (
        "requests of 16 clients answered over HTTP",
        "of their rows, other bits than onnxruntime's over HTTP",
        "requests of 16 clients answered over gRPC",
        "of their rows, other bits than onnxruntime's over gRPC",
        "accepted requests lost over HTTP",
        "accepted requests lost over gRPC",
        "requests cut off where HTTP clients go on",
    ),
    "signing": (
        "bundles of `nip sign` that",
        "bundles of `model_signing`",
        "bundles tampered with, refused",
        "changed files refused",
    ),
    "soak": (
        "threads × minutes",
        "engine fused: batches",
        "engine gated: batches",
    ),
}
"""What stands in docs/hardening.md, by the beginning of its words."""


def number(count: Count) -> str:
    """A count as people write it."""
    text = (
        f"{count.value:,.6g}".replace(",", " ")
        if count.value < 1e6
        else f"{count.value:,.0f}".replace(",", " ")
    )
    of = "" if count.of is None else f" of {count.of:,}".replace(",", " ")
    return f"{text}{of}{f' {count.unit}' if count.unit else ''}"


def verdict(count: Count) -> str:
    """What was promised, bold where it was missed."""
    if count.met is None:
        return ""
    return count.wanted if count.met else f"**{count.wanted}: missed**"


def headlines(records: Sequence[Saved]) -> list[str]:
    """The table of docs/hardening.md: chosen counts, every missed promise, and how many promises were kept.

    Raises:
        ValueError: a chosen count is not there.
    """
    rows, promises, kept = [], 0, 0
    for saved in records:
        chosen = list(HEADLINES.get(saved.record.name, ()))
        for count in saved.record.counts:
            promises += count.met is not None
            kept += count.met is True
            prefix = next((prefix for prefix in chosen if count.what.startswith(prefix)), None)
            if prefix is not None:
                chosen.remove(prefix)
            if prefix is not None or count.met is False:
                rows.append([count.what, number(count), verdict(count), f"`{saved.record.command}`"])
        if chosen:
            raise ValueError(f"{saved.record.name}: expected a count that begins with {chosen[0]!r}")
    return [
        *table(("counted", "number", "had to be", "shown again by"), rows),
        f"In all {kept} of {promises} promised numbers were kept.",
        "",
    ]


def everything(records: Sequence[Saved]) -> list[str]:
    """A table per check, with where and when it ran."""
    lines: list[str] = []
    for saved in records:
        record = saved.record
        lines += [f"## {record.name.replace('_', ' ').capitalize()}", "", f"`{record.command}`", ""]
        rows = [[count.what, number(count), verdict(count)] for count in record.counts]
        lines += table(("counted", "number", "had to be"), rows)
        if record.details:
            lines += [*(f"- {name}: {value}" for name, value in record.details.items()), ""]
        lines += [f"{saved.machine}; commit {saved.commit}, {saved.measured}.", ""]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables, or only compare them."""
    check = only_checks(__doc__, arguments)
    records = read_all()
    documents = {ROOT / "docs" / "hardening.md": headlines(records), ALL: everything(records)}
    return update(BLOCK, documents, check=check, source="benchmarks/results/hardening")


if __name__ == "__main__":
    raise SystemExit(main())
