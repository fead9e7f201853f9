"""Writes the memory curve, so that nothing in it is typed by hand.

python -m benchmarks.memory_curve.table            # into benchmarks/memory_curve/README.md
python -m benchmarks.memory_curve.table --check    # exit 1 if it differs from the committed results
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import Block, only_checks, table, update

RESULTS = Path(__file__).resolve().parents[1] / "results" / "memory-curve.json"
DOCUMENT = Path(__file__).resolve().parent / "README.md"
BLOCK = Block("<!-- curve: written by benchmarks/memory_curve/table.py -->\n", "<!-- end of curve -->\n")


def read_results(path: Path = RESULTS) -> list[dict[str, Any]]:
    """One point per size and number of images, in this order; none, if nothing was measured."""
    if not path.exists():
        return []
    points: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return sorted(points, key=lambda point: (point["size"], point["images"]))


def merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All points; of one size and number of images the new one."""
    points = {(point["size"], point["images"]): point for point in (*old, *new)}
    return [points[key] for key in sorted(points)]


def lines(points: Sequence[dict[str, Any]]) -> list[str]:
    """The block."""
    rows = [
        [
            f"{point['images']:,}".replace(",", " "),
            f"{point['size']}×{point['size']}",
            f"{point['pixels_bytes'] / 1e9:.2f} GB",
            f"{point['before_bytes'] / 1e9:.2f} GB",
            f"{point['peak_bytes'] / 1e9:.2f} GB",
            f"{point['cpu_s']:.0f} s",
        ]
        for point in points
    ]
    head = ["images", "size", "their pixels", "held before", "peak of the process", "CPU time"]
    return table(head, rows) if rows else ["Not yet measured.", ""]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or check it."""
    check = only_checks(__doc__, arguments)
    return update(BLOCK, {DOCUMENT: lines(read_results())}, check=check, source=RESULTS.name)


if __name__ == "__main__":
    raise SystemExit(main())
