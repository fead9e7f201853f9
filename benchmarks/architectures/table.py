"""Writes the table of networks, so that nothing in it is typed by hand.

python -m benchmarks.architectures.table            # into benchmarks/architectures/README.md
python -m benchmarks.architectures.table --check    # exit 1 if it differs from the committed results
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.architectures.networks import module_names, names
from benchmarks.architectures.run import RESULTS, read_results
from benchmarks.markdown import Block, only_checks, table, update

DOCUMENT = Path(__file__).resolve().parent / "README.md"
BLOCK = Block(
    "<!-- networks: written by benchmarks/architectures/table.py -->\n", "<!-- end of networks -->\n"
)
EQUAL = 1e-3
"""Largest error, over the scale of what is compared, that still counts as equal."""


def state(found: Mapping[str, Any]) -> str:
    """What became of the trial export."""
    if "refused" in found:
        return f"refused: {found['refused']}"
    if not found.get("exported"):
        return "taps alone"
    equal = "equal" if found["error"] <= EQUAL else "**differs**"
    return f"{equal} ({found['error']:.0e}); none: {found['no_rows'].split(':')[0]}"


def rows(library: str, results: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """One row per network of a library."""
    for name in names():
        if name.startswith(f"{library}/"):
            found = results.get(name, {"refused": "not tried"})
            early = ", ".join(found.get("early", [])) or "–"
            cells = [name.removeprefix(f"{library}/"), found.get("features", "–"), early]
            yield [*cells, found.get("classifier", "–"), state(found)]


def module_rows(results: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """One row per module of timm."""
    for module, name in module_names().items():
        found = results.get(name, {"refused": "not tried"})
        plan = "; ".join([found["features"], *found["early"]]) if "features" in found else "–"
        yield [module, name.removeprefix("timm/"), plan, found.get("refused", found.get("classifier", "–"))]


def lines() -> list[str]:
    """The block: how many, then every network."""
    results = read_results()
    written = []
    for library in ("timm", "torchvision"):
        members = {name: results[name] for name in names() if name.startswith(library) and name in results}
        planned = sum("features" in found for found in members.values())
        tried = [found for found in members.values() if "exported" in found]
        equal = sum(found["error"] <= EQUAL for found in tried)
        all_of = sum(name.startswith(f"{library}/") for name in names())
        written += [
            f"**{library}**: {planned} of {all_of} get a tap plan; of {len(tried)} exported, {equal} are "
            "equal to torch at 1 and 3 rows.",
            "",
            *table(
                ["network", "features", "early layers", "classifier", "export, all taps, at 1 and 3 rows"],
                list(rows(library, results)),
            ),
        ]
    modules = module_names()
    planned = sum("features" in results.get(name, {}) for name in modules.values())
    return [
        *written,
        f"**One network of each of timm's {len(modules)} modules**: {planned} get a plan; taps alone.",
        "",
        *table(
            ["module", "network", "features; early layers", "classifier, or why not"],
            list(module_rows(results)),
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or check it."""
    check = only_checks(__doc__, arguments)
    return update(BLOCK, {DOCUMENT: lines()}, check=check, source=RESULTS.name)


if __name__ == "__main__":
    raise SystemExit(main())
