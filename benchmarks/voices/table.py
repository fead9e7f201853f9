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
from benchmarks.voices.part import FILE
from benchmarks.voices.run import ATTACKED, CAPS, RESULTS
from nip_evaluate.attacks.sound import CORE
from nip_evaluate.report.numbers import load
from nip_evaluate.terms.results import AttackResult, BaselineResult, Evaluation
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BLOCK = Block(
    "<!-- tables of voices: written by benchmarks/voices/table.py -->\n",
    "<!-- end of the tables of voices -->\n",
)
ASKED, AIMED = 0.45, 0.70
HEAD = ("attack", "below the signal, dB", "undefended right", "defended right", "n of successes")
"""What every table of attacks begins with."""
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


@dataclass(frozen=True, eq=False)
class Part:
    """What benchmarks/voices/part.py scored of a run that is not complete."""

    content: dict[str, Any]

    @property
    def name(self) -> str:
        """The network."""
        return str(self.content["network"])

    @property
    def left_out(self) -> list[str]:
        """Attacks that count and were not made."""
        return [name for name in CORE if name in self.content["missing"]]

    def front(self) -> list[str]:
        """Its row of the front table."""
        content, counted = self.content, [one for one in self.content["attacks"] if one["core"]]
        seen = [Rate(one["detected"], one["successes"]) for one in counted if one["successes"]]
        return [
            f"{self.name}, in part ({len(counted)} of {len(CORE)} attacks)",
            share(Rate(content["accuracy"], content["benign"])),
            str(Cost.unpaired(content["accuracy"], content["benign"], content["defences"][FILE]["cost"])),
            "+".join(content["view"]),
            _interval(content["defences"][FILE]["mean_dsr"]),
            str(Interval.over_attacks(seen)),
            "; ".join(
                f"{one['right']} of {one['recordings']} at {one['epsilon']:g}" for one in content["adaptive"]
            )
            or "not measured",
        ]

    def all(self) -> list[str]:
        """Its tables."""
        content, names = self.content, list(self.content["defences"])
        head = [*HEAD, "detected, %"]
        rows = []
        for one in content["attacks"]:
            count, turned = one["recordings"], one["successes"]
            rows.append(
                [
                    one["name"] + ("" if one["core"] else " (does not count)"),
                    "–" if one["snr_db"] is None else f"{one['snr_db']:.0f}",
                    share(Rate(one["undefended"], count)),
                    share(Rate(one["defended"], count)),
                    str(turned),
                    share(Rate(one["detected"], turned) if turned else None),
                    *(share(Rate(one["repaired"][name], turned) if turned else None) for name in names),
                ]
            )
        others = [
            [
                f"**{name}**" if name == FILE else name,
                str(Cost.unpaired(content["accuracy"], content["benign"], found["cost"])),
                _interval(found["mean_dsr"]),
                "" if found["file_leads_by"] is None else _interval(found["file_leads_by"], sign="+"),
            ]
            for name, found in content["defences"].items()
        ]
        query = ", ".join(f"{one['name']}: {one['right']} of {one['recordings']}" for one in content["query"])
        adaptive = "; ".join(
            f"{one['right']} of {one['recordings']} at ε {one['epsilon']:g} ({one['attacks']} attacks)"
            for one in content["adaptive"]
        )
        count = content["adaptive_missing"]
        absent = f" ({count} attacks not made)" if adaptive and count else ""
        return [
            f"## {self.name}, in part",
            "",
            f"T1 gray-box; DSR in %. Benign budget {content['benign_budget']:g}, {content['benign']} benign recordings. Not made: {', '.join(content['missing'])}. Exported with {content['commit']}.",
            "",
            *table([*head, *(f"DSR: {name}" for name in names)], rows),
            *table(["defence", "benign cost, points", "mean DSR, %", "file leads by, points"], others),
            f"T3, labels alone, leaves right: {query or 'not made'}. T4, adaptive, leaves right: {adaptive or 'not made'}{absent}.",
            "",
        ]


def _interval(value: dict[str, float] | None, *, sign: str = "") -> str:
    if value is None:
        return "–"
    middle, low, high = (f"{100 * value[name]:{sign}.1f}" for name in ("value", "low", "high"))
    return f"{middle} ({low} to {high})" if sign else f"{middle} ({low}–{high})"


def read_parts(complete: Sequence[str], folder: Path = RESULTS) -> list[Part]:
    """The networks that were measured in part alone."""
    paths = [folder / f"{name}-part.json" for name in ORDER if name not in complete]
    return [Part(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.is_file()]


def front(networks: Sequence[Network]) -> list[str]:
    """A row per network: what it costs, what it buys, what T4 leaves."""
    rows = []
    for network in networks:
        found, benign = network.evaluation, network.evaluation.benign
        least = min((case.epsilon for case in found.worst_case if case.epsilon is not None), default=None)
        left = [
            case for case in found.worst_case if case.threats == (Threat.ADAPTIVE,) and case.epsilon == least
        ]
        rows.append(
            [
                network.name,
                share(benign.undefended),
                str(Cost.of(vars(benign.cost))),
                network.view,
                estimate(found.mean_dsr),
                detected(found),
                *(f"{case.defended.count} of {case.defended.n} at {case.epsilon:g}" for case in left[:1]),
            ]
        )
    head = [
        "network",
        "accuracy, %",
        "given up, points",
        "view chosen",
        "mean DSR, %",
        "detected, %",
        "T4 leaves right",
    ]
    parts = read_parts([network.name for network in networks])
    rows += [part.front() for part in parts]
    shown = [*(network.name for network in networks), *(part.name for part in parts)]
    missing = [name for name in ORDER if name not in shown]
    lines = table(head, rows)
    lines.append(
        f"At most 1.5 points of benign accuracy may be given up (90 % confidence, calibration recordings). Asked for: mean DSR {100 * ASKED:.0f}, aimed at {100 * AIMED:.0f}. Means over {', '.join(CORE)}; {ATTACKED} recordings attacked, {CAPS['C&W']} by C&W, {CAPS['T4']} by T4."
        + (
            f" **In part ({', '.join(part.name for part in parts)}): query (T3) and adaptive attacks (T4) only where a number stands, and no comparison with a random pattern or other variants of the gate; benchmarks/voices/README.md names every attack that is missing.**"
            if parts
            else ""
        )
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
    for part in read_parts([network.name for network in networks]):
        lines += part.all()
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
