"""The README's one table: of every kind of data and network the one that fares worst, the worst of all first."""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.imagenet.run import RESULTS as IMAGENET
from benchmarks.intervals import Cost, Interval
from benchmarks.markdown import table
from benchmarks.robustness.results import Network, worst
from benchmarks.robustness.tables import grouped
from benchmarks.voices.corpora import Corpus
from benchmarks.voices.table import read_networks
from nip_evaluate.attacks.sound import USUAL_EPSILON
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate


@dataclass(frozen=True)
class Line:
    """One row: a network, how many inputs were attacked, what was measured."""

    what: str
    attacked: int
    cost: Cost
    detected: Interval
    repaired: Interval
    left: str

    def cells(self) -> list[str]:
        """As the table prints it."""
        return [
            self.what,
            str(self.attacked),
            str(self.cost),
            str(self.detected),
            str(self.repaired),
            self.left,
        ]


def front(networks: Sequence[Network]) -> list[str]:
    """The lines of the README's block."""
    found = [*_pictures(networks), *_photographs(), *_recordings()]
    rows = [line.cells() for line in sorted(found, key=lambda line: line.repaired.value)]
    head = ["data: network", "attacked", "benign cost, points", "detected, %", "right again, %"]
    return [
        "What happens to attacks that fool the network, made by somebody who knows it but not the defence (gray-box, T1), with files that may cost 1.5 points of benign accuracy. Means over the attacks of each protocol, with 95 % intervals; costly attacks take fewer inputs than stated. T4: what an attacker who knows the defence leaves.",
        "",
        *table([*head, "T4 leaves right"], rows),
    ]


def _left(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.count} of {rate.n} ({100 * low:.0f}–{100 * high:.0f} %)"


def _pictures(networks: Sequence[Network]) -> list[Line]:
    lines = []
    for group, members in grouped(networks):
        network = weakest(members)
        found = network.main
        seen = [one for one in found.attacks if one.core and one.detected is not None]
        case = worst(found, (Threat.ADAPTIVE,), group.sizes[0])
        assert found.mean_dsr is not None
        among = f", the worst of {len(members)}" if len(members) > 1 else ""
        lines.append(
            Line(
                f"{group.title}{among}: {network.name}",
                max(one.undefended.n for one in seen),
                Cost.of(vars(found.benign.cost)),
                Interval.over_attacks([one.detected for one in seen if one.detected is not None]),
                Interval.of(vars(found.mean_dsr)),
                f"{_left(case.defended)} at {255 * group.sizes[0]:g}/255" if case else "not measured",
            )
        )
    return lines


def weakest(networks: Sequence[Network]) -> Network:
    """The network on which the file of 1.5 points repairs least."""

    def repaired(network: Network) -> float:
        assert network.main.mean_dsr is not None
        return network.main.mean_dsr.value

    return min(networks, key=repaired)


def _photographs() -> list[Line]:
    lines = []
    for path in sorted(IMAGENET.parent.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        seen = [one for one in found["attacks"] if one["core"]]
        knowing = [one["defended"] for one in found["attacks"] if one["threat"] == Threat.ADAPTIVE]
        strongest = min(knowing, key=lambda rate: rate["count"], default=None)
        lines.append(
            Line(
                f"ImageNet, 1000 classes: {found['network']}",
                max(one["undefended"]["n"] for one in seen),
                Cost.of(found["benign"]["cost"]),
                Interval.over_attacks([Rate(one["detected"]["count"], one["detected"]["n"]) for one in seen]),
                Interval.of(found["mean_dsr"]),
                f"{_left(Rate(strongest['count'], strongest['n']))} at 2/255"
                if strongest
                else "not measured",
            )
        )
    return lines


def _recordings() -> list[Line]:
    """Of each set of recordings the network on which the file repairs least."""
    lines = []
    networks = read_networks()
    for corpus in Corpus:
        members = [one for one in networks if one.name.startswith(f"{corpus}-")]
        if not members:
            continue
        found = min((one.evaluation for one in members), key=lambda one: _mean(one).value)
        name = next(one.name for one in members if one.evaluation is found)
        seen = [one for one in found.attacks if one.core and one.detected is not None]
        case = worst(found, (Threat.ADAPTIVE,), USUAL_EPSILON)
        among = f", the worst of {len(members)}" if len(members) > 1 else ""
        lines.append(
            Line(
                f"voices{among}: {name}",
                max(one.undefended.n for one in seen),
                Cost.of(vars(found.benign.cost)),
                Interval.over_attacks([one.detected for one in seen if one.detected is not None]),
                _mean(found),
                f"{_left(case.defended)} at {USUAL_EPSILON:g}" if case else "not measured",
            )
        )
    return lines


def _mean(evaluation: Evaluation) -> Interval:
    assert evaluation.mean_dsr is not None
    return Interval.of(vars(evaluation.mean_dsr))
