"""Reads the benchmark's committed results: one file per network, a row per accuracy that may be given up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.robustness.networks import Kind, kind_of
from nip_evaluate.report.numbers import load
from nip_evaluate.terms.results import BaselineResult, Evaluation, TradeOff, WorstCase
from nip_evaluate.terms.threats import Threat

RESULTS = Path(__file__).resolve().parent.parent / "results" / "robustness"
FIRST_RELEASE = RESULTS.parent / "first-release"
"""What the gate of the first release was measured at: the tables of precisions still rest on its budgets."""
MAIN = 0.015
"""The row that faces all threat models."""
REENCODED = "JPEG quality 75"
"""The baseline without which a network is not compared with image transformations."""


@dataclass(frozen=True, eq=False)
class Row:
    """One file: the accuracy it may give up, its benign budget, its evaluation."""

    limit: float
    benign_budget: float
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class Network:
    """One network's rows by rising limit."""

    name: str
    commit: str
    full: bool
    brief: bool
    few: bool
    rows: tuple[Row, ...]

    @property
    def main(self) -> Evaluation:
        """The file that faced all threat models."""
        return next(row.evaluation for row in self.rows if row.limit == MAIN)


@dataclass(frozen=True, eq=False)
class Yardstick:
    """A network trained on PGD examples, as plain numbers."""

    name: str
    benign: dict[str, Any]
    attacks: dict[str, dict[str, Any]]


@cache
def read_networks(folder: Path = RESULTS) -> tuple[Network, ...]:
    """All networks, natural images first, in the order of kind and seed; read once a process."""
    found = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "rows" in content:
            rows = tuple(
                Row(row["limit"], row["benign_budget"], load(json.dumps(row["report"])))
                for row in content["rows"]
            )
            found.append(
                Network(
                    content["network"],
                    content["commit"],
                    content["full"],
                    content.get("brief", False),
                    content.get("few", False),
                    rows,
                )
            )
    order = sorted(Kind, key=lambda kind: not kind.is_cifar)  # natural images first
    return tuple(sorted(found, key=lambda network: (order.index(kind_of(network.name)), network.name)))


def read_yardsticks(folder: Path = RESULTS) -> tuple[Yardstick, ...]:
    """All networks trained on PGD examples."""
    found = []
    for path in sorted(folder.glob("*-pgd.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        attacks = {attack["name"]: attack["accuracy"] for attack in content["attacks"]}
        found.append(Yardstick(content["network"], content["benign"], attacks))
    return tuple(found)


def worst(evaluation: Evaluation, threats: tuple[Threat, ...], epsilon: float | None) -> WorstCase | None:
    """A worst case by threats and ε."""
    for case in evaluation.worst_case:
        same = case.epsilon == epsilon or (
            case.epsilon is not None and epsilon is not None and abs(case.epsilon - epsilon) < 1e-9
        )
        if case.threats == threats and same:
            return case
    return None


def baseline(evaluation: Evaluation, name: str) -> BaselineResult | None:
    """A baseline by name; None where it was not measured."""
    return next((result for result in evaluation.baselines if result.name == name), None)


def at_cost(curve: TradeOff, cost: float) -> float:
    """The largest mean DSR that a curve reaches without costing more than `cost`."""
    reached = [point.mean_dsr.value for point in curve.points if point.cost.value <= cost + 1e-12]
    return max(reached, default=0.0)
