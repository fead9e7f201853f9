"""Writes this benchmark's tables, so that no number in them is typed by hand.

python -m benchmarks.bank.table            # into benchmarks/bank/README.md
python -m benchmarks.bank.table --check    # exit 1 if they differ from the committed results
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.bank.results import (
    CostTable,
    Number,
    SizeTable,
    Strength,
    read_costs,
    read_sizes,
    read_strengths,
)
from benchmarks.markdown import Block, only_checks, table, update

DOCUMENT = Path(__file__).resolve().parent / "README.md"
BLOCK = Block("<!-- bank tables: written by benchmarks/bank/table.py -->\n", "<!-- end of bank tables -->\n")
FILE_LIMIT = 1.1
"""Largest file without bank, over the plain one."""
COST_LIMIT = 0.08
"""Most that adding may cost, in passes of a MobileNetV2."""


def percent(number: Number | None) -> str:
    """A share with its 95 % interval, in per cent."""
    if number is None:
        return "–"
    between = "–" if number.low >= 0 else " to "
    return f"{100 * number.value:.1f} ({100 * number.low:.1f}{between}{100 * number.high:.1f})"


def points(number: Number) -> str:
    """A difference with its 95 % interval, in points."""
    return f"{_signed(number.value)} ({_signed(number.low)} to {_signed(number.high)})"


def _signed(value: float) -> str:
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"  # not −0.0


def size(count: int) -> str:
    """Bytes for readers: kB and MB are powers of ten."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.{2 if count < 10 * factor else 1}f} {unit}"
    return f"{count} B"


def verdict(holds: bool) -> str:
    """Whether a target is met."""
    return "met" if holds else "**missed**"


def sizes(found: Sequence[SizeTable]) -> list[str]:
    """What every part takes."""
    rows = [
        [
            row.network,
            row.policy,
            row.readout,
            size(row.plain),
            size(row.bank),
            size(row.readouts),
            size(row.scales),
            size(row.rest),
            size(row.file),
            f"{row.ratio:.3f}",
            verdict(row.ratio <= FILE_LIMIT and row.bank <= 12e6),
        ]
        for one in found
        for row in one.rows
    ]
    head = ["network", "policy", "read-out on (width)", "plain file", "bank", "read-out", "scales"]
    return [
        *table(
            [*head, "operators, names, manifest", "file", "(file − bank) ÷ plain", f"≤ {FILE_LIMIT:g}"], rows
        ),
        f"Commits {', '.join(sorted({one.commit for one in found}))}.",
        "",
    ]


def costs(found: CostTable) -> list[str]:
    """What adding costs."""
    rows = [
        [
            row.network,
            str(row.batch),
            f"{row.plain_ms:.1f}",
            f"{row.adding_ms:.2f}",
            f"{row.ratio:.3f} ({row.low:.3f}–{row.high:.3f})",
            verdict(row.ratio <= COST_LIMIT),
        ]
        for row in found.rows
    ]
    machine = found.machine
    head = ["network", "batch", "one pass, ms", "adding, ms", "adding ÷ pass", f"≤ {COST_LIMIT:g}"]
    return [
        *table(head, rows),
        f"{found.rows[0].rounds} paired rounds, one thread of {machine['cpu']}, load {machine['load']}, onnxruntime {machine['onnxruntime']}; commit {found.commit}.",
        "",
    ]


def forms(strength: Strength) -> list[str]:
    """Every form of one network and policy beside the first."""
    rows = [
        [
            form.name,
            size(form.bank_bytes),
            percent(form.flagged),
            percent(form.cost),
            "" if index == 0 else points(form.cost_against_reference),
            percent(form.mean_dsr),
            "" if index == 0 else points(form.against_reference),
        ]
        for index, form in enumerate(strength.forms)
    ]
    head = [
        "stored as",
        "bank",
        "flagged of rightly labelled, %",
        "benign cost, points",
        "more cost than the first",
    ]
    return table([*head, "mean DSR, %", "more than the first"], rows)


def by_attack(strength: Strength) -> list[str]:
    """DSR of the first form attack by attack, and how much more the others reach."""
    first, *others = strength.forms
    rows = [
        [
            line.name,
            str(line.successes),
            percent(line.dsr),
            *(points(form.attacks[index].against_reference) for form in others),
        ]
        for index, line in enumerate(first.attacks)
    ]
    return table(["attack", "successes", first.name, *(form.name for form in others)], rows)


def document(
    strengths: Sequence[Strength], sizes_found: Sequence[SizeTable], costs_found: CostTable | None
) -> list[str]:
    """All tables; what was not measured says so."""
    missing = ["Not yet measured.", ""]
    lines = ["## What the parts of a file take", "", *(sizes(sizes_found) if sizes_found else missing)]
    lines += ["## What adding costs", "", *(costs(costs_found) if costs_found else missing)]
    lines += ["## What storing costs in strength", ""]
    for strength in strengths:
        made = strength.machine
        packages = ", ".join(f"{name} {number}" for name, number in made["packages"].items())
        benign = strength.forms[0].cost.n
        lines += [
            f"### {strength.network}, {strength.policy}",
            "",
            f"Benign budget {100 * strength.benign_budget:g} %, gates calibrated anew for every form; {benign} benign images. Gray-box only; mean over the core attacks, DeepFool is not among them.",
            "",
            *forms(strength),
            "DSR of the first form in %, and what the others reach more or less, in points, paired on the same images:",
            "",
            *by_attack(strength),
            f"Commit {strength.commit}; {made['system']}, Python {made['python']}, {packages}.",
            "",
        ]
    return lines if strengths else [*lines, *missing]


def main(arguments: list[str] | None = None) -> int:
    check = only_checks(__doc__, arguments)
    lines = document(read_strengths(), read_sizes(), read_costs())
    return update(BLOCK, {DOCUMENT: lines}, check=check, source="benchmarks/results/bank")


if __name__ == "__main__":
    raise SystemExit(main())
