"""The section on precisions of benchmarks/README.md, from benchmarks/results/precision alone.

python -m benchmarks.robustness.precision_table [--check]
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.markdown import Block, only_checks, table, update
from benchmarks.robustness.precision import PRECISION_RESULTS
from benchmarks.robustness.tables import share
from nip_runtime.file.rates import Rate

DOCUMENT = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = Block(
    "<!-- precision tables: written by benchmarks/robustness/precision_table.py -->\n",
    "<!-- end of precision tables -->",
)


def rate(stated: dict[str, Any] | None) -> Rate | None:
    return None if stated is None else Rate(stated["count"], stated["n"])


@dataclass(frozen=True, eq=False)
class Network:
    """One network's files, one row per precision, fp32 first."""

    name: str
    commit: str
    benign_budget: float
    rows: tuple[dict[str, Any], ...]


def read(folder: Path = PRECISION_RESULTS) -> tuple[Network, ...]:
    """All networks, by name; VGGs first as in the other tables."""
    found = []
    for path in sorted(folder.glob("*.json"), reverse=True):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.append(
            Network(content["network"], content["commit"], content["benign_budget"], tuple(content["rows"]))
        )
    return tuple(found)


def interval(estimate: dict[str, Any] | None) -> str:
    """An estimate with its interval, in per cent."""
    if estimate is None:
        return "–"
    return f"{100 * estimate['value']:.1f} ({100 * estimate['low']:.1f}–{100 * estimate['high']:.1f})"


def benign(networks: Sequence[Network]) -> list[str]:
    """Size, agreement and benign cost."""
    head = ["network", "precision", "file, kB", "same label as fp32, undefended", "defended",
            "max abs Δ logit", "accuracy, undefended", "defended", "flagged of correct", "second pass"]  # fmt: skip
    rows = []
    for network in networks:
        for row in network.rows:
            told, agrees, changed = row["benign"], row["same_label_as_fp32"], row["conversion"]
            reference = row["precision"] == "fp32"
            rows.append(
                [
                    network.name,
                    row["precision"],
                    f"{row['size_bytes'] / 1e3:.0f}",
                    *(["–"] * 2 if reference else [share(rate(agrees[key])) for key in ("undefended", "defended")]),
                    "–" if changed is None else f"{changed['max_abs_logit_difference']:.2g}",
                    *(share(rate(told[key])) for key in ("undefended", "defended", "flagged_correct", "second_pass")),
                ]
            )  # fmt: skip
    return table(head, rows)


def attacks(network: Network) -> list[str]:
    """What every file repairs of the same attacked images."""
    head = [
        "attack",
        *(f"{row['precision']}: {what}" for row in network.rows for what in ("undefended", "DSR")),
    ]
    by_name = [{attack["name"]: attack for attack in row["attacks"]} for row in network.rows]
    rows = [
        [name, *(share(rate(found[name][what])) for found in by_name for what in ("undefended", "dsr"))]
        for name in by_name[0]
    ]
    rows.append(["**mean DSR**", *(cell for row in network.rows for cell in ("", interval(row["mean_dsr"])))])
    return table(head, rows)


def section(networks: Sequence[Network]) -> list[str]:
    """The whole section."""
    if not networks:
        return ["Not measured yet.", ""]
    counted = " or ".join(
        map(str, sorted({network.rows[0]["benign"]["defended"]["n"] for network in networks}))
    )
    lines = [
        f"The network was converted first, then read-outs and gate were fitted to what the converted network answers to benign images, at the same benign budget ({', '.join(f'{n.name}: {n.benign_budget:.1%}' for n in networks)}). Influence profiles and ρ are those of the fp32 network. Labels and rates on {counted} fresh benign images, in % with Wilson 95 % intervals; the largest logit change on the calibration images. Measured with onnxruntime's CPU provider, which rounds the weights of fp16 files but few of their activations; not yet measured on a GPU.",
        "",
        *benign(networks),
        "**Gray-box only (T1)**: attacks crafted on the undefended fp32 network, the same images for all three files. *Undefended* is what the file's own network still answers rightly: rounding alone undoes part of the attacks that stop just across the boundary (C&W κ=0), so DSRs there count fewer and other images.",
        "",
    ]
    for network in networks:
        lines += [f"{network.name}:", "", *attacks(network)]
    lines += [f"Commits {', '.join(sorted({network.commit for network in networks}))}.", ""]
    return lines


def main(arguments: list[str] | None = None) -> int:
    check = only_checks(__doc__, arguments)
    return update(BLOCK, {DOCUMENT: section(read())}, check=check, source="benchmarks/results/precision")


if __name__ == "__main__":
    raise SystemExit(main())
