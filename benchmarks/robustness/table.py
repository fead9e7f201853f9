"""Writes the tables of the robustness benchmark, so that no number in them is typed by hand.

python -m benchmarks.robustness.table            # into README.md, docs/*.md and benchmarks/README.md
python -m benchmarks.robustness.table --check    # exit 1 if they differ from the committed results
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.markdown import Block, only_checks, update
from benchmarks.robustness import plots, tables
from benchmarks.robustness.front import front
from benchmarks.robustness.networks import kind_of
from benchmarks.robustness.results import MAIN, REENCODED, Network, baseline, read_networks
from nip_evaluate.terms.threats import Threat

ROOT = Path(__file__).resolve().parent.parent.parent
BEGIN = "<!-- robustness tables: written by benchmarks/robustness/table.py -->\n"
END = "<!-- end of robustness tables -->\n"
PLOT = ROOT / "docs" / "pictures" / "accuracy.svg"
BEST = 4
THREATS = {
    Threat.GRAY_BOX: "T1 gray-box",
    Threat.TRANSFER: "T2 transfer (crafted on a network of another kind)",
    Threat.QUERY: "T3 query (crafted from the answers of the deployed file)",
    Threat.ADAPTIVE: "T4 adaptive (crafted through the whole defence)",
}


def baselines(
    networks: Sequence[Network], limit: float, *, variants: bool, most: int | None = None
) -> list[str]:
    """Baselines or variants at one limit, each group of networks apart."""
    lines = []
    for group, members in tables.grouped(networks):
        if any(row.limit == limit for network in members for row in network.rows):
            lines += [
                f"{group.title} ({len(members)}), at most {100 * limit:g} points:",
                "",
                *tables.baselines(members, limit, variants=variants, most=most),
            ]
    return lines


def queried(network: Network) -> bool:
    """Whether a network faced transfer and query attacks."""
    return {Threat.TRANSFER, Threat.QUERY} <= {attack.threat for attack in network.main.attacks}


def counted(networks: Sequence[Network]) -> str:
    """Which attacks count, and what was measured in part or not at all."""
    kinds = [kind for group in tables.GROUPS for kind in group.kinds]
    missing = [kind.value for kind in kinds if all(kind_of(network.name) is not kind for network in networks)]
    text = "Attacks that count: FGSM 8/255, PGD 2, 4 and 8/255, MI-FGSM 8/255, L2-PGD 0.5, APGD-DLR 4/255, C&W κ = 0 and 5 on CIFAR-10; FGSM 8 and 25/255, PGD 8 and 25/255, MI-FGSM 16/255, L2-PGD 1.5, C&W κ = 0 and 5 on Fashion-MNIST. 300 or 500 images attacked, fewer by C&W and APGD; every n is in benchmarks/README.md."
    asked = [network.name for network in networks if network.brief and queried(network)]
    if asked:
        text += f" **In part: {', '.join(asked)} faced few adaptive attacks.**"
    brief = [network.name for network in networks if network.brief and not queried(network)]
    if brief:
        text += f" **In part: {', '.join(brief)} faced no transfer or query attacks and few adaptive ones.**"
    few = [network.name for network in networks if network.few]
    if few:
        text += f" **Compared with few others: {', '.join(few)}.**"
    lone = [network.name for network in networks if baseline(network.main, REENCODED) is None]
    if lone:
        text += f" **Not compared with image transformations: {', '.join(lone)}.**"
    return text + (f" **Not measured with this gate: {', '.join(missing)}.**" if missing else "")


def short(networks: Sequence[Network]) -> list[str]:
    """The block of docs/results.md: what was reached, what T4 leaves, which baselines are as good."""
    return [
        "**Gray-box only (T1): mean DSR in %, with bootstrap 95 % intervals, by the benign accuracy that may be given up**; cost: the points that fresh images measured",
        "",
        *tables.strength(networks),
        counted(networks),
        "",
        "**Adaptive (T4): attackers know and differentiate the whole defence.** Accuracy in %, per-image worst case over all attacks within that ε, file of the middle column",
        "",
        *tables.adaptive(networks),
        f"**The same gate with one part exchanged, gray-box only**: the best {BEST} of each group (the rest is in benchmarks/README.md); means over the networks that it was measured on, and on how many of them the file is better / not to be told apart / worse by the paired 95 % interval. Not all cost the same",
        "",
        *baselines(networks, MAIN, variants=True, most=BEST),
        f"**Other defences without training**, gray-box only: the best {BEST} of each group, whatever they cost in benign accuracy (the rest, and the other budgets, are in benchmarks/README.md)",
        "",
        *baselines(networks, MAIN, variants=False, most=BEST),
    ]


def settings(networks: Sequence[Network]) -> list[str]:
    """The block of docs/settings.md: what budgets cost, and what the parts of the defence are worth."""
    return [
        "**Benign budget**: the budget set and what fresh benign images measured; passes are means over benign images.",
        "",
        *tables.benign(networks),
        "**One part exchanged**, at the budget that gives up at most 1.5 points (screen, second view, ρ, tests); gray-box only. *File leads by* is the paired difference in mean DSR with its 95 % interval.",
        "",
        *baselines(networks, MAIN, variants=True),
    ]


def full(networks: Sequence[Network]) -> list[str]:
    """All tables."""
    lines = [
        *short(networks),
        "## Elastic: DSR by ε",
        "",
        "PGD on the file of the middle column, DSR in % (gray-box only).",
        "",
        *tables.curves(networks),
    ]
    lines += ["## All baselines", ""]
    for limit in tables.LIMITS:
        lines += baselines(networks, limit, variants=False)
    lines += [
        "## Ablation: what each part is worth",
        "",
        "The defence with one part exchanged, left out or alone, calibrated anew to the same benign budget (middle column). *File leads by* is the paired difference in mean DSR; with one network in a group its 95 % interval stands beside it.",
        "",
        *baselines(networks, MAIN, variants=True),
        "## Detection at one pass",
        "",
        "What the free tests flag with no second pass at all, at the benign budget of the middle column: share of successful attacks, in %.",
        "",
        *tables.one_pass(networks),
        "## At equal measured cost",
        "",
        "Mean DSR in % that each variant reaches without costing more benign accuracy than the file of the middle column did on the same images.",
        "",
        *tables.equal_cost(networks),
        "## Benign budgets",
        "",
        "The budget set and what fresh benign images measured; passes are means over benign traffic.",
        "",
        *tables.benign(networks),
        "## A network trained on PGD examples",
        "",
        "What training buys instead: accuracy in %, four steps of PGD at 8/255 in training, the architecture of the VGGs. Such a network has no defence to know: these attacks are adaptive ones.",
        "",
        *tables.yardsticks(),
    ]
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
    check = only_checks(__doc__, arguments)
    networks = read_networks()
    if not check:
        plots.draw(networks, PLOT)
    documents = {
        ROOT / "README.md": front(networks),
        ROOT / "docs" / "results.md": short(networks),
        ROOT / "docs" / "settings.md": settings(networks),
        ROOT / "benchmarks" / "README.md": full(networks),
    }
    block = Block(BEGIN, END)
    return update(block, documents, check=check, source="benchmarks/results/robustness")


if __name__ == "__main__":
    raise SystemExit(main())
