"""Writes the tables and plots of the speed benchmark, so that no number in them is typed by hand.

python -m benchmarks.speed.table            # into docs/speed.md and benchmarks/README.md; plots beside the results
python -m benchmarks.speed.table --check    # exit 1 if the tables differ from the committed results
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.markdown import Block, only_checks, update
from benchmarks.speed import explained, plots, profile, results, rival_tables, tables
from benchmarks.speed.networks import NETWORKS
from benchmarks.speed.results import NetworkResult
from nip_runtime.run.engine.answers import EngineKind

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = Block(
    "<!-- speed tables: written by benchmarks/speed/table.py -->\n", "<!-- end of speed tables -->\n"
)
SHORT_BATCH = 1


def short(found: Sequence[NetworkResult], pictures: str) -> list[str]:
    """The block of docs/speed.md: targets, costs, contenders."""
    if not found:
        return ["Not measured yet.", ""]
    auto, fused, gated = (
        tables.ratio_count(found, engine) for engine in (EngineKind.AUTO, EngineKind.FUSED, EngineKind.GATED)
    )
    return [
        f"**Ratio to one plain onnxruntime pass** of the same backbone, medians of paired rounds, CPU; missed targets are bold. Targets met: {auto} by the engine that auto takes, {fused} by fused, {gated} by gated. Not yet measured on a GPU",
        "",
        *tables.ratios(found),
        f"![Ratio to one plain pass by batch size, per network and engine]({pictures}/ratios.svg)",
        "",
        "**What else it costs**; where there are two numbers, engines fused · gated",
        "",
        *tables.costs(found),
        "**Against what one would pick instead**: how many times faster the defended file is, `guarded` with no row in pass 2 · with every row in both passes; where a row says `always`, that file. One thread, engine auto",
        "",
        *rival_tables.rivals(found, SHORT_BATCH),
        measured_on(found),
        "",
    ]


def full(found: Sequence[NetworkResult], pictures: str, folder: Path) -> list[str]:
    """All tables, and what the profiler says of the misses."""
    lines = short(found, pictures)
    if not found:
        return lines
    lines += rival_tables.rivals(found, 16)
    lines += [f"![How many times faster the file is than contenders]({pictures}/contenders.svg)", ""]
    for result in found:
        title = NETWORKS[result.network].title
        profiles = profile.read(result.network, folder)
        lines += [f"## Speed: {title}", "", *tables.ratios_with_intervals(result)]
        lines += [
            f"Engine auto takes {choice.engine} for `{policy}`: {choice.why}."
            for policy, choice in result.auto.items()
        ]
        lines += [
            "",
            *tables.opened(result, profiles),
            *rival_tables.rival_details(result),
            *rival_tables.missed_aims(result),
        ]
        lines += [
            "**Missed ratios, and where onnxruntime's profiler finds the time**",
            "",
            *explained.misses(result, profiles),
        ]
        for batch in sorted({one.batch for one in profiles}):
            lines += explained.profile_table(profiles, batch)
    return lines


def measured_on(found: Sequence[NetworkResult]) -> str:
    """Machines, versions and commits in one sentence."""
    machines = sorted({f"{r.machine.cores} cores of {r.machine.cpu} ({r.machine.system})" for r in found})
    versions = sorted(
        {
            f"onnxruntime {r.machine.onnxruntime}, numpy {r.machine.numpy}, torch {r.packages['torch']}, Python {r.machine.python}"
            for r in found
        }
    )
    return f"Measured on {'; '.join(machines)}; {'; '.join(versions)}; commits {results.commits(found)}."


def documents(found: Sequence[NetworkResult]) -> dict[Path, list[str]]:
    """The lines of each document, for documents that have the markers."""
    every = {
        ROOT / "docs" / "speed.md": short(found, "../benchmarks/results/speed"),
        ROOT / "benchmarks" / "README.md": full(found, "results/speed", results.RESULTS),
    }
    return {path: lines for path, lines in every.items() if BLOCK.begin in path.read_text(encoding="utf-8")}


def main(arguments: list[str] | None = None) -> int:
    check = only_checks(__doc__, arguments)
    found = results.read_all(results.RESULTS)
    if found and not check:
        plots.draw(found, results.RESULTS)
    return update(BLOCK, documents(found), check=check, source="benchmarks/results/speed")


if __name__ == "__main__":
    raise SystemExit(main())
