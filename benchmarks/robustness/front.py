"""The README's one table: every kind of data that was tried, the one that fares worst first."""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.imagenet.run import RESULTS as IMAGENET
from benchmarks.markdown import table
from benchmarks.robustness.results import Network, worst
from benchmarks.robustness.tables import grouped
from benchmarks.voices.part import FILE
from benchmarks.voices.table import read_networks, read_parts
from nip_export.evaluate.threats import Threat


@dataclass(frozen=True)
class Line:
    """One row: means over networks, and what T4 leaves, in words."""

    what: str
    cost: float
    detected: float
    repaired: float
    left: str

    def cells(self) -> list[str]:
        """As the table prints it."""
        shares = (f"{100 * value:.0f}" for value in (self.detected, self.repaired))
        return [self.what, f"{100 * self.cost:.1f} points", *shares, self.left]


def front(networks: Sequence[Network]) -> list[str]:
    """The lines of the README's block."""
    found = [*_groups(networks), *_photographs(), *_recordings()]
    rows = [line.cells() for line in sorted(found, key=lambda line: line.repaired)]
    head = ["data and networks", "benign accuracy given up", "detected, %", "answered rightly again, %"]
    return [
        "What happens to attacks that fool the network, made by somebody who knows it but not the defence (gray-box, T1), with files that may cost 1.5 points of benign accuracy. Means over the attacks of each protocol. T4: what an attacker who knows the defence leaves.",
        "",
        *table([*head, "T4 leaves right"], rows),
    ]


def _groups(networks: Sequence[Network]) -> list[Line]:
    lines = []
    for group, members in grouped(networks):
        seen = [
            mean([result.detected.value for result in one.main.attacks if result.core and result.detected])
            for one in members
        ]
        size = group.sizes[0]
        cases = [worst(network.main, (Threat.ADAPTIVE,), size) for network in members]
        left = [case.defended for case in cases if case is not None]
        lines.append(
            Line(
                f"{group.title} ({', '.join(network.name for network in members)})",
                mean([network.main.benign.cost.value for network in members]),
                mean(seen),
                mean([network.main.mean_dsr.value for network in members if network.main.mean_dsr]),
                f"{sum(rate.count for rate in left)} of {sum(rate.n for rate in left)} images at {255 * size:g}/255"
                if left
                else "not measured",
            )
        )
    return lines


def _photographs() -> list[Line]:
    lines = []
    for path in sorted(IMAGENET.parent.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        lines.append(
            Line(
                f"ImageNet photographs, 1000 classes ({found['network']})",
                found["benign"]["cost"]["value"],
                found["mean_detected"],
                found["mean_dsr"]["value"],
                "not measured",
            )
        )
    return lines


def _recordings() -> list[Line]:
    lines = []
    for part in read_parts([network.name for network in read_networks()]):
        _, _, cost, _, _, seen, left = part.front()
        repaired = part.content["defences"][FILE]["mean_dsr"]["value"]
        title = f"voices, in part ({part.name})"
        lines.append(Line(title, float(cost) / 100, float(seen) / 100, repaired, left))
    return lines
