"""Writes the tables of voices: python -m benchmarks.voices.table [--check]

Into benchmarks/voices/README.md and, in short, docs/results.md; from benchmarks/results/voices alone.
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.intervals import Cost, Interval
from benchmarks.markdown import Block, only_checks, table, update
from benchmarks.robustness.tables import estimate, share, signed
from benchmarks.voices.run import ATTACKED, CAPS, RESULTS
from nip_evaluate.attacks.sound import CORE
from nip_evaluate.baselines import VariantKind
from nip_evaluate.report.numbers import load
from nip_evaluate.terms.results import AttackResult, BaselineResult, Evaluation
from nip_evaluate.terms.threats import Threat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BLOCK = Block(
    "<!-- tables of voices: written by benchmarks/voices/table.py -->\n",
    "<!-- end of the tables of voices -->\n",
)
ASKED, AIMED = 0.45, 0.70
HEAD = ("attack", "below the signal, dB", "undefended right", "defended right", "n of successes")
"""What every table of attacks begins with."""
SEEN = {
    "digits-wave": "form chosen on it",
    "digits-mel": "form chosen on it",
    "prompts-mel": "seen before",
}
"""What these networks had shown, on other recordings or to an earlier form, before the form stood."""
ORDER = ("digits-wave", "digits-mel", "prompts-wave", "prompts-mel")
THREATS = {
    Threat.GRAY_BOX: "T1 gray-box",
    Threat.QUERY: "T3 query, labels alone",
    Threat.ADAPTIVE: "T4 adaptive",
}


@dataclass(frozen=True, eq=False)
class Network:
    """One network's results."""

    name: str
    content: dict[str, Any]
    evaluation: Evaluation

    @property
    def view(self) -> str:
        """How its second pass looks at a recording."""
        return "+".join([*self.content["view"], *(["rho"] if self.content["rho"] else [])])


def read_networks(folder: Path = RESULTS) -> list[Network]:
    """All that were measured."""
    found = []
    for name in ORDER:
        path = folder / f"{name}.json"
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append(Network(name, content, load(json.dumps(content["row"]["report"]))))
    return found


def front(networks: Sequence[Network]) -> list[str]:
    """A row per network: what it costs, what it buys, what T4 leaves."""
    rows = []
    for network in networks:
        found, benign = network.evaluation, network.evaluation.benign
        left = [
            case
            for case in found.worst_case
            if case.threats == (Threat.ADAPTIVE,) and case.epsilon is not None
        ]
        pattern = next((one for one in found.baselines if one.name == str(VariantKind.RANDOM_PATTERN)), None)
        rows.append(
            [
                ", ".join(filter(None, (network.name, SEEN.get(network.name)))),
                share(benign.undefended),
                str(Cost.of(vars(benign.cost))),
                network.view,
                estimate(found.mean_dsr),
                detected(found),
                signed(pattern.lead) if pattern is not None and pattern.lead is not None else "not measured",
                ", ".join(f"{case.defended.count} of {case.defended.n} at {case.epsilon:g}" for case in left),
            ]
        )
    head = [
        "network",
        "accuracy, %",
        "given up, points",
        "view chosen",
        "mean DSR, %",
        "detected, %",
        "file leads the same view with a random pattern by, points",
        "T4 leaves right",
    ]
    missing = [name for name in ORDER if name not in [network.name for network in networks]]
    lines = table(head, rows)
    lines.append(
        f"At most 1.5 points of benign accuracy may be given up (90 % confidence, calibration recordings). Required: mean DSR {100 * ASKED:.0f}, aimed at {100 * AIMED:.0f}. Means over {', '.join(CORE)}; {ATTACKED} recordings attacked, {CAPS['C&W']} by C&W, {CAPS['T4']} by T4."
        + (f" **Not measured: {', '.join(missing)}.**" if missing else "")
    )
    return [*lines, ""]


def detected(evaluation: Evaluation) -> str:
    """Mean share of successes that are flagged, over the attacks that count, in per cent."""
    seen = [a.detected for a in evaluation.attacks if a.core and a.detected is not None]
    return str(Interval.over_attacks(seen)) if seen else "–"


def attacks(evaluation: Evaluation, threat: Threat) -> list[str]:
    """All attacks of a threat model."""
    found = [attack for attack in evaluation.attacks if attack.threat is threat]
    head = [*HEAD, "DSR, %", "detected, %"]
    return table(head, [_attack(attack) for attack in found]) if found else ["Not measured.", ""]


def _attack(attack: AttackResult) -> list[str]:
    return [
        attack.name + ("" if attack.core or attack.threat is not Threat.GRAY_BOX else " (does not count)"),
        "–" if attack.snr_db is None else f"{attack.snr_db:.0f}",
        share(attack.undefended),
        share(attack.defended),
        str(attack.successes),
        share(attack.dsr),
        share(attack.detected),
    ]


def baselines(evaluation: Evaluation) -> list[str]:
    """Everything that the file was compared with, the best first."""

    def worth(one: BaselineResult) -> float:
        return -one.mean_dsr.value if one.mean_dsr is not None else 1.0

    rows = [
        [
            "**this file**",
            "2",
            str(Cost.of(vars(evaluation.benign.cost))),
            estimate(evaluation.mean_dsr),
            "",
        ],
        *(
            [
                one.name + (" (same gate)" if one.variant else ""),
                f"{one.passes:g}",
                str(Cost.of(vars(one.benign.cost))),
                estimate(one.mean_dsr),
                signed(one.lead),
            ]
            for one in sorted(evaluation.baselines, key=worth)
        ),
    ]
    return table(["defence", "passes", "benign cost, points", "mean DSR, %", "file leads by, points"], rows)


def full(networks: Sequence[Network]) -> list[str]:
    """All tables."""
    lines = ["", *front(networks)]
    for network in networks:
        found = network.evaluation
        sizes = ", ".join(f"{part} {count}" for part, count in network.content["recordings"].items())
        lines += [
            f"## {network.name}",
            "",
            f"Recordings: {sizes}. Benign budget {network.content['row']['benign_budget']:g}.",
            "",
        ]
        for threat, title in THREATS.items():
            lines += [f"**{title}**", "", *attacks(found, threat)]
        lines += ["**Compared with**", "", *baselines(found)]
        lines += [
            f"- Sanity gate failed: {check.claim} {check.detail}."
            for check in found.checks
            if not check.holds
        ]
        lines += [f"- Not measured: {one.what}: {one.why}." for one in found.not_measured]
        lines.append("")
    commits = ", ".join(sorted({network.content["commit"] for network in networks}))
    return [*lines, f"Commits {commits}.", ""] if networks else lines


def main(arguments: list[str] | None = None) -> int:
    check = only_checks(__doc__, arguments)
    networks = read_networks()
    documents = {HERE / "README.md": full(networks), ROOT / "docs" / "results.md": ["", *front(networks)]}
    return update(BLOCK, documents, check=check, source="benchmarks/results/voices")


if __name__ == "__main__":
    raise SystemExit(main())
