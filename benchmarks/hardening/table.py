"""Writes the tables of what hardening counted, so that no number in them is typed by hand.

python -m benchmarks.hardening.table            # into README.md and benchmarks/hardening/README.md
python -m benchmarks.hardening.table --check    # exit 1 if they differ from the committed results
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.hardening.record import Count, Saved, read_all
from benchmarks.markdown import Block, table, update

ROOT: Final = Path(__file__).resolve().parents[2]
ALL: Final = Path(__file__).resolve().parent / "README.md"
BLOCK: Final = Block(
    "<!-- hardening tables: written by benchmarks/hardening/table.py -->\n",
    "<!-- end of hardening tables -->\n",
)


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


def promised(records: Sequence[Saved]) -> list[str]:
    """One table of everything that had to be some number."""
    rows = [
        [count.what, number(count), verdict(count), f"`{saved.record.command}`"]
        for saved in records
        for count in saved.record.counts
        if count.met is not None
    ]
    return table(("counted", "number", "had to be", "shown again by"), rows)


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hardening.table", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table differs")
    check: bool = parser.parse_args(arguments).check
    records = read_all()
    documents = {ROOT / "README.md": promised(records), ALL: everything(records)}
    return update(BLOCK, documents, check=check, source="benchmarks/results/hardening")


if __name__ == "__main__":
    raise SystemExit(main())
