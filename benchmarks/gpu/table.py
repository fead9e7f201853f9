"""Writes the tables of the GPU run into docs/speed.md and benchmarks/README.md: no number is typed by hand.

python -m benchmarks.gpu.table --take OUT    # keep a run's results first
python -m benchmarks.gpu.table               # from the kept results
python -m benchmarks.gpu.table --check       # exit 1 if the tables differ from the kept results
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.gpu import tables
from benchmarks.gpu.results import FILES, RESULTS, Row, read_all
from benchmarks.markdown import Block, add_check, update
from nip_runtime.support.writing import write_whole

ROOT: Final = Path(__file__).resolve().parents[2]
BLOCK: Final = Block(
    "<!-- gpu tables: written by benchmarks/gpu/table.py -->\n", "<!-- end of gpu tables -->\n"
)
NOTHING: Final = "**CUDA: not yet measured on a GPU.**"


def short(rows: Sequence[Row]) -> list[str]:
    """The block of docs/speed.md: on what, what holds, how many targets are met."""
    setting = tables.setting_of(rows)
    if setting is None or not tables.on_gpu(rows):
        return [NOTHING, ""]
    return [f"**CUDA.** {tables.targets_met(rows)} {tables.held(rows)} {tables.measured_on(setting)}", ""]


def full(rows: Sequence[Row]) -> list[str]:
    """All tables."""
    if not tables.on_gpu(rows):
        return [NOTHING, ""]
    return [
        *short(rows),
        tables.limits(),
        "",
        *tables.ratios(rows),
        *tables.ratios(rows, "device"),
        *tables.rivals(rows),
        *tables.memory(rows),
        *tables.answers(rows),
        *tables.checks(rows),
        *tables.profiles(rows),
        *tables.incomplete(rows),
    ]


def take(folder: Path) -> None:
    """Keep a run's results in place of earlier ones; the log stays where it is."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for stem in FILES:
        source, target = folder / f"{stem}.json", RESULTS / f"{stem}.json"
        if source.exists():
            write_whole(target, source.read_bytes())
        else:
            target.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--take", type=Path, metavar="OUT", help="keep the results of this run first")
    add_check(parser)
    told = parser.parse_args(arguments)
    if told.take is not None:
        if not tables.on_gpu(read_all(told.take)):
            print(
                f"error: expected results of a GPU in {told.take}, got none; a dry run's are not kept",
                file=sys.stderr,
            )
            return 2
        take(told.take)
    rows = read_all(RESULTS)
    documents = {ROOT / "docs" / "speed.md": short(rows), ROOT / "benchmarks" / "README.md": full(rows)}
    return update(BLOCK, documents, check=told.check, source="benchmarks/results/gpu")


if __name__ == "__main__":
    sys.exit(main())
