"""Writes the tables of the robustness benchmark, so that no number in them is typed by hand.

python -m benchmarks.robustness.table            # into README.md and benchmarks/README.md
python -m benchmarks.robustness.table --check    # exit 1 if they differ from the committed results
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.markdown import Block, update
from benchmarks.robustness import tables
from benchmarks.robustness.results import MAIN, Network, read_networks
from nip_export.evaluate.threats import Threat

ROOT = Path(__file__).resolve().parent.parent.parent
BEGIN = "<!-- robustness tables: written by benchmarks/robustness/table.py -->\n"
END = "<!-- end of robustness tables -->\n"
BEST = 6
THREATS = {
    Threat.GRAY_BOX: "T1 gray-box",
    Threat.TRANSFER: "T2 transfer (crafted on a network of another kind)",
    Threat.QUERY: "T3 query (crafted from the answers of the deployed file)",
    Threat.ADAPTIVE: "T4 adaptive (crafted through the whole defence)",
}


def baselines(networks: Sequence[Network], limit: float, *, most: int | None = None) -> list[str]:
    """The baselines at one limit, for the kinds that the gate was developed with and for others apart."""
    lines = []
    for name, group in zip(("VGGs and ResNets", "Transformer"), tables.split(networks), strict=True):
        if group:
            lines += [
                f"{name} ({len(group)}), at most {100 * limit:g} points:",
                "",
                *tables.baselines(group, limit, most=most),
            ]
    return lines


def short(networks: Sequence[Network]) -> list[str]:
    """The README's block: what was reached, what T4 leaves, which baselines are as good."""
    return [
        "**Gray-box only (T1): mean DSR in %, with bootstrap 95 % intervals, by the benign accuracy that may be given up**; cost: the points that 4000 fresh images measured",
        "",
        *tables.strength(networks),
        "**Adaptive (T4): attackers know and differentiate the whole defence.** Accuracy in %, per-image worst case over all attacks within that ε, file of the middle column",
        "",
        *tables.adaptive(networks),
        f"**Baselines, gray-box only**: the best {BEST} of all (the rest is in benchmarks/README.md); means over networks, and on how many of them the file is better / not to be told apart / worse by the paired 95 % interval. Not all cost the same",
        "",
        *baselines(networks, MAIN, most=BEST),
    ]


def full(networks: Sequence[Network]) -> list[str]:
    """All tables."""
    lines = [*short(networks), "## All baselines", ""]
    for limit in tables.MUST_AND_AIM:
        lines += baselines(networks, limit)
    lines += [
        "**At equal measured cost**: mean DSR in % that each variant reaches without costing more benign accuracy than the file of the middle column did on the same images",
        "",
        *tables.equal_cost(networks),
        "## The dial",
        "",
        "What was asked for and what fresh benign images measured; passes are means over benign traffic.",
        "",
        *tables.benign(networks),
        "## A network trained on PGD examples",
        "",
        "What training buys instead: accuracy in %, four steps of PGD at 8/255 in training, the architecture of the VGGs. Such a network has no defence to know: these attacks are adaptive ones.",
        "",
        *tables.yardsticks(),
    ]
    for network in networks:
        if network.full:
            lines += [f"## Elasticity: {network.name}", "", *tables.elastic(network)]
    for network in networks:
        lines += [f"## All attacks: {network.name}", ""]
        for threat, title in THREATS.items():
            found = tables.attacks(network, threat)
            lines += [f"**{title}**", "", *(found or ["Not measured on this network.", ""])]
        failed = [check for check in network.main.checks if not check.holds]
        lines += [f"- Sanity gate failed: {check.claim} {check.detail}." for check in failed]
        lines += ["" if failed else "All sanity gates hold.", ""]
    made = networks[0].main.subject.machine if networks else {}
    packages = ", ".join(f"{name} {number}" for name, number in made.get("packages", {}).items())
    commits = ", ".join(sorted({network.commit for network in networks}))
    lines += [
        f"Measured on {made.get('cores')} cores of {made.get('system')}, Python {made.get('python')}, {packages}; commits {commits}.",
        "",
    ]
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if something would change"
    )
    options = parser.parse_args(arguments)
    networks = read_networks()
    documents = {
        ROOT / "README.md": short(networks),
        ROOT / "benchmarks" / "README.md": full(networks),
    }
    block = Block(BEGIN, END)
    return update(block, documents, check=options.check, source="benchmarks/results/robustness")


if __name__ == "__main__":
    raise SystemExit(main())
