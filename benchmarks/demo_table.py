"""Writes the demo table of docs/results.md from a committed JSON file: no number in it is typed by hand.

python benchmarks/demo_table.py --take nip-demo/summary.json    # keep a demo's summary, then write the table
python benchmarks/demo_table.py                                 # write it from the kept summary
python benchmarks/demo_table.py --check                         # exit 1 if the page differs from it
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "demo.json"
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- demo table: written by benchmarks/demo_table.py -->\n", "<!-- end of demo table -->\n"
PACKAGES = ("numpy", "onnxruntime", "torch", "onnx-ir", "onnxscript", "foolbox")


def cell(value: float | None, interval: list[float] | None) -> str:
    """A share with its Wilson 95 % interval, in per cent."""
    if value is None or interval is None:
        return "–"
    low, high = interval
    return f"{100 * value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def table(summary: dict[str, Any]) -> str:
    """The block: the gray-box table, the adaptive table, cost and machine."""
    benign = summary["benign"]
    lines = [
        "**Gray-box (T1): attackers know the weights, not the defence**",
        "",
        "| images | n | undefended | defended | DSR, gray-box only |",
        "|---|---|---|---|---|",
        f"| benign | {benign['n']} | {cell(benign['undefended'], benign['intervals']['undefended'])} "
        f"| {cell(benign['defended'], benign['intervals']['defended'])} | – |",
    ]
    for row in summary["attacks"]:
        cells = [cell(row[key], row["intervals"][key]) for key in ("undefended", "defended", "dsr")]
        lines.append(f"| {row['name']} | {row['n']} | {' | '.join(cells)} |")
    lines += [
        "",
        "**Adaptive (T4): attackers know and differentiate the whole defence; stronger ones may leave less**",
        "",
        "| images | n | defended |",
        "|---|---|---|",
    ]
    for row in summary.get("adaptive_worst", []):  # summaries of one adaptive attack have none
        name = f"**worst of {row['attacks']} adaptive attacks per image, ε {255 * row['epsilon']:.3g}/255**"
        lines.append(f"| {name} | {row['n']} | **{cell(row['defended'], row['intervals']['defended'])}** |")
    for row in summary["adaptive"]:
        lines.append(
            f"| {row['name']} | {row['n']} | {cell(row['defended'], row['intervals']['defended'])} |"
        )
    ratios = ", ".join(f"{entry['ratio']:.2f} × at batch {entry['batch']}" for entry in summary["latency"])
    made = summary["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in made["packages"].items())
    lines += [
        "",
        f"Latency against the plain file, benign images, one CPU thread: {ratios}. Measured on "
        f"{made['cores']} cores of {made['system']}, Python {made['python']}, {packages}.",
    ]
    return "\n".join(lines) + "\n"


def rewritten(page: str, block: str) -> str:
    """The page with its block replaced."""
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise SystemExit(f"expected the lines {BEGIN.strip()!r} and {END.strip()!r} in {PAGE.name}")
    return f"{head}{BEGIN}{block}{END}{tail}"


def main(arguments: list[str] | None = None) -> int:
    """Write or check the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--take", type=Path, metavar="SUMMARY.json", help="keep this demo's summary first")
    parser.add_argument("--check", action="store_true", help="only say whether the page is in step")
    args = parser.parse_args(arguments)
    if args.take is not None:
        from nip_evaluate.given.subject import machine  # with PyTorch: only where a demo ran

        summary = json.loads(args.take.read_text(encoding="utf-8")) | {"machine": machine(PACKAGES)}
        RESULT.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    fresh = rewritten(page, table(json.loads(RESULT.read_text(encoding="utf-8"))))
    if args.check:
        if fresh != page:
            print(
                "docs/results.md differs from benchmarks/results/demo.json: "
                "run python benchmarks/demo_table.py",
                file=sys.stderr,
            )
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
