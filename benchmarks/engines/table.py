"""Writes the table of engines in docs/deploy.md from what the matrix found.

python -m benchmarks.engines.table            # into docs/deploy.md
python -m benchmarks.engines.table --check    # exit 1 if it differs from the committed results
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.engines.engines import ENGINES
from benchmarks.engines.results import RESULTS, EngineResult, read
from benchmarks.markdown import Block, only_checks, table, update

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"
BLOCK: Final = Block(
    "<!-- engine table: written by benchmarks/engines/table.py -->\n", "<!-- end of engine table -->\n"
)
_TIMED: Final = 17
_BUSY: Final = 1.5
"""Runnable processes above which others were at work: the matrix itself is one."""
_MOST: Final = 140
"""Characters of a reason; the JSON has more."""
_HEAD: Final = ("engine", "files alike", "rows (left out)", "labels, flags that differ", "error", "time")


def lines(found: Sequence[EngineResult]) -> list[str]:
    """The table, then what does not work and where it was measured."""
    if not found:
        return ["**Not yet measured.**"]
    rows = [_row(result) for result in found]
    busy = [result.name for result in found if result.load is not None and result.load > _BUSY]
    cores, system = found[0].cores, found[0].system
    measured = f"Measured on {cores} cores of {system}."
    if busy:
        measured += f" **The machine was busy with other work for {', '.join(busy)}: their times are rough.**"
    return [*table(_HEAD, rows), *_problems(found), measured, ""]


def _row(result: EngineResult) -> list[str]:
    alike = [file for file in result.files if not file.problem]
    verdicts = [verdict for file in alike for verdict in file.verdicts.values()]
    name = f"{result.name}" if result.version in result.name else f"{result.name} {_short(result.version)}"
    # The reference is written to be read, not to be fast.
    is_timed = not result.name.endswith("reference")
    ratios = [file.ratios[_TIMED] for file in alike if is_timed and _TIMED in file.ratios]
    return [
        name,
        f"{len(alike)} of {len(result.files)}",
        f"{sum(v.rows for v in verdicts)} ({sum(v.on_edge for v in verdicts)})" if verdicts else "–",
        f"{sum(v.labels for v in verdicts)}, {sum(v.flags for v in verdicts)}" if verdicts else "–",
        f"{max(v.logit_error for v in verdicts):.2g}" if verdicts else "–",
        f"{median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})" if ratios else "–",
    ]


def _short(version: str) -> str:
    return version.partition("-")[0]


def _problems(found: Sequence[EngineResult]) -> list[str]:
    """For each engine how many files it did not run alike, why, and what was seen most often."""
    known = {engine.name: engine.partial for engine in ENGINES}
    said = []
    for result in found:
        seen = Counter(_short_reason(file.problem) for file in result.files if file.problem)
        if seen:
            why = known[result.name] or "**not known before**"
            often = "; ".join(f"{count} × `{reason}`" for reason, count in seen.most_common(3))
            said.append(f"- {result.name}, {seen.total()} of {len(result.files)} files: {why}. Seen: {often}")
    return ["What does not work:", "", *said, ""] if said else []


def _short_reason(reason: str) -> str:
    plain = reason.replace("`", "'")
    return plain if len(plain) <= _MOST else f"{plain[: _MOST - 3]}..."


def read_all(folder: Path = RESULTS) -> list[EngineResult]:
    """All saved results, in the order of the engines."""
    paths = [folder / f"{engine.slug}.json" for engine in ENGINES]
    return [read(path) for path in paths if path.exists()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or only compare it."""
    check = only_checks(__doc__, arguments)
    return update(BLOCK, {PAGE: lines(read_all())}, check=check, source="benchmarks/results/engines")


if __name__ == "__main__":
    raise SystemExit(main())
