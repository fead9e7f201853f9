"""Writes the tables of ONNX files of others, so that nothing in them is typed by hand.

python -m benchmarks.onnx_in.table            # into benchmarks/onnx_in/README.md
python -m benchmarks.onnx_in.table --check    # exit 1 if they differ from the committed results
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import costs
from benchmarks.markdown import Block, only_checks, table, update
from benchmarks.onnx_in import orientation, photographs, run, speed
from benchmarks.onnx_in.exports import EXPORTS
from benchmarks.onnx_in.files import GIVEN, LIGHT

DOCUMENT = Path(__file__).resolve().parent / "README.md"
BLOCK = Block("<!-- files: written by benchmarks/onnx_in/table.py -->\n", "<!-- end of files -->\n")
SHOWN = 5
"""Operators that are named, the most frequent first."""
NOT_MEASURED = "not measured"


def operators(counts: Mapping[str, int]) -> str:
    """The most frequent operators with their numbers, and how many kinds more."""
    named = [f"{name} {number}" for name, number in list(counts.items())[:SHOWN]]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def rows(results: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """One row per file, those not tried included."""
    for name in (*GIVEN, *LIGHT.split(), *(export.name for export in EXPORTS)):
        found = results.get(name)
        if found is None:
            yield [name, "–", "–", "–", "not tried", "–"]
            continue
        facts = [name, str(found["opset"]), operators(found["operators"])]
        if "refused" in found:
            yield [*facts, "–", f"refused: {found['refused']}", "–"]
            continue
        done = "; ".join(note.removeprefix("the file ") for note in found["done"]) or "nothing"
        parity = f"{found['graph_error']:.0e}, {found['rebuild_error']:.0e}"
        yield [*facts, done, parity, f"{', '.join(found['early'])}; {found['features']}"]


def share(rate: Mapping[str, Any] | None) -> str:
    """A share in per cent with its interval."""
    if rate is None:
        return "–"
    return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"


def measured(name: str) -> Mapping[str, Any] | None:
    """What was measured of one network."""
    path = orientation.RESULTS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def benign_rows() -> Iterator[list[str]]:
    """One row per network: what a defended file does to benign images."""
    for name in (*orientation.NETWORKS, photographs.NETWORK):
        found = measured(name)
        if found is None:
            yield [name, GIVEN[name].what, *([NOT_MEASURED] * 4)]
            continue
        same, benign = found["agreement"], found["benign"]
        cost, before = benign["cost"], benign["undefended"]
        yield [
            name,
            GIVEN[name].what,
            f"{same['same_class']} of {same['images']}, {same['largest']:.0e}",
            f"no labels, n = {before['n']}" if "answers" in found else f"{share(before)}, n = {before['n']}",
            f"{100 * cost['value']:.1f} ({100 * cost['low']:.1f} to {100 * cost['high']:.1f})",
            share(benign["flagged_correct"]),
        ]


def speed_rows() -> Iterator[list[str]]:
    """One row per network: what its defended file costs beside one pass of the network alone."""
    for name in speed.NAMES:
        report = costs.read(speed.FOLDER / f"{name}.json")
        if report is None:
            yield [name, *([NOT_MEASURED] * (3 + len(costs.BATCHES)))]
            continue
        found = costs.opening(report)
        shown = (", ".join(costs.ratios(report, batch)) for batch in costs.BATCHES)
        memory = f"{found.memory:.2f}, {found.with_run:.2f}"
        yield [name, *shown, memory, f"{found.time:.2f}", f"{found.size:.2f}"]


def speed_told() -> list[str]:
    """Under what the speed was measured."""
    found = [costs.read(speed.FOLDER / f"{name}.json") for name in speed.NAMES]
    reports = [report for report in found if report is not None]
    return ["", costs.told(reports)] if reports else []


def unlabelled() -> list[str]:
    """What the row without labels counts."""
    found = measured(photographs.NETWORK)
    if found is None:
        return []
    counts = ", ".join(
        f"{count} {name}" for count, name in zip(found["answers"], photographs.CLASSES, strict=True)
    )
    return [
        "",
        f"{photographs.NETWORK} answers photographs that have no labels for its task ({counts}, it says): "
        "its own answers stand in for right ones, and the cost is the share of them that the file changes.",
    ]


def attack_rows() -> Iterator[list[str]]:
    """One row per network and attack."""
    for name in orientation.NETWORKS:
        attacks = {attack["name"]: attack for attack in (measured(name) or {"attacks": []})["attacks"]}
        for wanted in orientation.names():
            attack = attacks.get(wanted)
            if attack is None:
                yield [name, wanted, *([NOT_MEASURED] * 4)]
                continue
            yield [
                name,
                f"{attack['name']}",
                f"{attack['successes']} of {attack['images']}",
                share(attack["detected"]),
                share(attack["dsr"]),
                share(attack["defended"]),
            ]


def lines() -> list[str]:
    """The block: all files, then the networks that were attacked."""
    results = run.read_results()
    taken = [found for found in results.values() if "refused" not in found]
    graph = max((found["graph_error"] for found in taken), default=0.0)
    rebuild = max((found["rebuild_error"] for found in taken), default=0.0)
    return [
        f"Of {len(results)} files {len(taken)} are taken. Their graphs differ from the files by {graph:.0e} "
        f"at most, their rebuilds by {rebuild:.0e}.",
        "",
        *table(
            [
                "file",
                "opset",
                "operators",
                "done to it",
                "largest difference from the file: graph, rebuild",
                "early layers; features",
            ],
            list(rows(results)),
        ),
        "",
        *table(
            [
                "network",
                "says",
                "raw answers like the file's: classes, difference",
                "right, %",
                "benign cost, points",
                "right ones flagged, %",
            ],
            list(benign_rows()),
        ),
        *unlabelled(),
        "",
        *table(
            [
                "network",
                *(f"time ÷ one plain pass, batch {batch}" for batch in costs.BATCHES),
                "memory ÷ plain: opened, after a run",
                "opening ÷ plain",
                "file ÷ plain",
            ],
            list(speed_rows()),
        ),
        *speed_told(),
        "",
        *table(
            ["network", "attack", "fooled", "of these detected, %", "right again, %", "right of all, %"],
            list(attack_rows()),
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables, or check them."""
    check = only_checks(__doc__, arguments)
    return update(BLOCK, {DOCUMENT: lines()}, check=check, source=run.RESULTS.parent.name)


if __name__ == "__main__":
    raise SystemExit(main())
