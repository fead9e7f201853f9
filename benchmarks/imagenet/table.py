"""Writes the tables of the ImageNet benchmark, so that no number in them is typed by hand.

python -m benchmarks.imagenet.table            # into benchmarks/imagenet/README.md
python -m benchmarks.imagenet.table --check    # exit 1 if they differ from the committed results
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import costs
from benchmarks.imagenet.run import RESULTS
from benchmarks.imagenet.speed import SPEED
from benchmarks.imagenet.thousand import NETWORKS, read_results
from benchmarks.intervals import Interval
from benchmarks.markdown import Block, only_checks, table, update
from nip_runtime.file.rates import Rate

BEGIN = "<!-- imagenet tables: written by benchmarks/imagenet/table.py -->\n"
END = "<!-- end of imagenet tables -->\n"
README = Path(__file__).resolve().parent / "README.md"
MUST_DETECT, MUST_REPAIR, MUST_COST, MUST_FLAG = 0.75, 0.45, 1.5, 0.02
MOST_BANK_BYTES, MOST_PEAK_BYTES = 12e6, 3e9
MOST_TIME, MOST_MEMORY, MOST_OPENING = 1.05, 1.3, 2


def share(rate: dict[str, Any] | None) -> str:
    """A share in per cent with its interval."""
    if rate is None:
        return "–"
    return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"


def points(estimate: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    return f"{100 * estimate['value']:.1f} ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})"


def judged(text: str, *, holds: bool) -> str:
    """A number beside its target; one that misses it is bold."""
    return text if holds else f"**{text} missed**"


def summary(found: dict[str, Any]) -> list[str]:
    """One row: what went in, what came out."""
    made, benign, coverage = found["export"], found["benign"], found["manifest"]["coverage"]
    bank = found["manifest"]["defence"]["bank"]["size_bytes"]
    repaired, seen = found["mean_dsr"], detected([one for one in found["attacks"] if one["core"]])
    head = ("what", "measured", "must")
    rows = [
        (
            "classes with images, fewer than 10, none",
            f"{coverage['with_images']}, {coverage['few_images']}, {coverage['without_images']}",
            "",
        ),
        (
            "export: CPU minutes, peak memory",
            "not measured"
            if made["cpu_s"] is None
            else f"{made['cpu_s'] / 60:.1f}, {made['peak_bytes'] / 1e9:.1f} GB",
            "",
        ),
        (
            "file, plain file, bank",
            judged(
                f"{made['size_bytes'] / 1e6:.2f}, {made['plain_size_bytes'] / 1e6:.2f}, {bank / 1e6:.2f} MB",
                holds=bank <= MOST_BANK_BYTES,
            ),
            "bank ≤ 12 MB",
        ),
        (
            "benign flagged, of right ones",
            judged(share(benign["flagged_correct"]), holds=benign["flagged_correct"]["value"] <= MUST_FLAG),
            "≤ 2 %",
        ),
        (
            "benign accuracy given up",
            judged(points(benign["cost"]), holds=100 * benign["cost"]["value"] <= MUST_COST),
            "≤ 1.5 points",
        ),
        (
            "mean detected",
            judged(f"{seen} %", holds=seen.value >= MUST_DETECT),
            "≥ 75 %",
        ),
        (
            "mean repaired (DSR)",
            judged(points(repaired) + " %", holds=repaired["value"] >= MUST_REPAIR),
            "≥ 45 %",
        ),
    ]
    return table(head, [*rows, *speed_rows()])


def speed_rows() -> list[tuple[str, str, str]]:
    """Time and memory beside the plain model."""
    report = costs.read(SPEED)
    if report is None:
        return [("time and memory beside the plain model", "not measured", "")]
    found = costs.opening(report)
    calm = [one.ratio.median for one in report.timed if one.ratio is not None and one.second_pass_rows == 0]
    return [
        (
            "time ÷ one plain pass, no row in the second pass",
            judged(f"{max(calm):.2f} at most", holds=max(calm) <= MOST_TIME),
            f"≤ {MOST_TIME}",
        ),
        *(
            (f"the same, batch {batch}", ", ".join(costs.ratios(report, batch)), "")
            for batch in costs.BATCHES
        ),
        (
            "memory ÷ plain: opened, after a run",
            f"{judged(f'{found.memory:.2f}', holds=found.memory <= MOST_MEMORY)}, "
            f"{judged(f'{found.with_run:.2f}', holds=found.with_run <= MOST_MEMORY)}",
            "≤ 1.3",
        ),
        ("opening ÷ plain", judged(f"{found.time:.2f}", holds=found.time <= MOST_OPENING), "≤ 2"),
    ]


def attacks(found: dict[str, Any]) -> list[str]:
    """A row per attack."""
    head = ("attack", "knows", "n", "network right, %", "file right, %", "detected, %", "repaired, %")
    rows = [
        (
            row["name"],
            row["threat"],
            str(row["images"]),
            share(row["undefended"]),
            share(row["defended"]),
            share(row["detected"]),
            share(row["dsr"]),
        )
        for row in found["attacks"]
    ]
    return table(head, rows)


def baselines(found: dict[str, Any]) -> list[str]:
    """A row per other defence."""
    head = ("one pass behind", "benign points given up", "mean repaired, %", "the file is ahead by")
    rows = [
        (row["name"], points(row["cost"]), points(row["mean_dsr"]), points(row["lead"]))
        for row in found["baselines"]
    ]
    return table(head, rows)


def detected(attacks: Sequence[dict[str, Any]]) -> Interval:
    """Mean share of successful attacks that are flagged, over the gray-box ones."""
    return Interval.over_attacks(
        [Rate(one["detected"]["count"], one["detected"]["n"]) for one in attacks if one["detected"]]
    )


def budgets(found: dict[str, Any]) -> list[str]:
    """A row per benign budget that a file was written for, all of them measured on the same photographs."""
    head = (
        "benign budget, %",
        "benign flagged, of right ones, %",
        "points given up",
        "mean detected, %",
        "mean repaired, %",
    )
    default = {
        "mean_dsr": found["mean_dsr"],
        "attacks": [one for one in found["attacks"] if one["core"]],
        **{what: found["benign"][what] for what in ("cost", "flagged_correct")},
        "benign_budget": found["manifest"]["calibration"]["benign_budget"],
    }
    rows = [
        (
            f"{100 * row['benign_budget']:g}",
            share(row["flagged_correct"]),
            points(row["cost"]),
            str(detected(row["attacks"])),
            points(row["mean_dsr"]),
        )
        for row in (default, *found["budgets"])
    ]
    return table(head, rows)


def verdict(found: dict[str, Any]) -> list[str]:
    """What the file says of itself."""
    said = found["manifest"]["verdict"]
    lines = [f"- it can detect {text}" for text in said["detects"]]
    lines += [f"- it cannot detect {text}" for text in said["misses"]]
    return [*lines, *(f"- to improve it: {text}" for text in said["advice"]), ""]


def thousand(every: dict[str, dict[str, float]]) -> list[str]:
    """What the command takes for twice as many photographs, by network."""
    lines = [
        "**The command itself, with 1,000 files**, read and cropped by `--preprocess`, once each "
        "(`python -m benchmarks.imagenet.thousand`):",
        "",
    ]
    for function, (name, minutes) in NETWORKS.items():
        found = every.get(function)
        if found is None:
            lines.append(f"- {name}: not measured.")
            continue
        minutes_taken = f"{found['cpu_s'] / 60:.1f} minutes of processor time"
        held = f"{found['peak_bytes'] / 1e9:.2f} GB"
        took = judged(minutes_taken, holds=found["cpu_s"] <= 60 * minutes)
        took += f", {found['seconds'] / 60:.1f} of the clock and "
        took += judged(held, holds=found["peak_bytes"] <= MOST_PEAK_BYTES)
        machine = f"on {found['cores']} cores, load {found['load_before']} before"
        lines.append(f"- {name}: {took}, {machine}; must: {minutes} minutes of processor time, 3 GB.")
    return [*lines, ""]


def lines_of(found: dict[str, Any], large: dict[str, dict[str, float]]) -> list[str]:
    """The whole block."""
    missing = ", ".join(found["not_measured"])
    view = "+".join(found["manifest"]["gate"]["view"])
    settings = dict.fromkeys(f"{row['name']}: {row['settings']}" for row in found["attacks"])
    return [
        *summary(found),
        *thousand(large),
        "**At other benign budgets**: the first is the default, at which 350 photographs let the gate",
        "flag two of them; the others are further files of the same export, tried once the first had missed.",
        "",
        *budgets(found),
        *attacks(found),
        *baselines(found),
        f"Second view, chosen on benign photographs: {view}. What the file says of itself:",
        "",
        *verdict(found),
        f"Attacks: {'; '.join(settings)}.",
        *([f"**Not measured: {missing}.**"] if missing else []),
        "",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    check = only_checks(__doc__, arguments)
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    block = Block(BEGIN, END)
    return update(block, {README: lines_of(found, read_results())}, check=check, source=str(RESULTS.name))


if __name__ == "__main__":
    raise SystemExit(main())
