"""Writes one table over voices, ONNX files of others and the service: python -m benchmarks.overview [--check]

Into docs/results.md, from the results of the three benchmarks alone. Rows of single attacks on voices, and of fewer
questions, stand in the tables of their own.
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import Block, only_checks, table, update
from benchmarks.onnx_in import orientation, photographs
from benchmarks.onnx_in.table import NOT_MEASURED, measured
from benchmarks.onnx_in.table import share as stated
from benchmarks.robustness.tables import estimate, share
from benchmarks.service.table import NETWORKS as SERVED
from benchmarks.service.table import read_networks as read_services
from benchmarks.service.table import succeeded
from benchmarks.voices.table import ORDER, THREATS, Network, detected, read_networks
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results.md"
BLOCK = Block(
    "<!-- voices, files and the service: written by benchmarks/overview.py -->\n",
    "<!-- end of voices, files and the service -->\n",
)
HEAD = (
    "what is defended",
    "attack",
    "n",
    "right without the defence, %",
    "with it, %",
    "detected, %",
    "repaired, %",
)
Row = Sequence[str]


def main(arguments: Sequence[str] | None = None) -> int:
    check = only_checks(__doc__, arguments)
    return update(BLOCK, {DOCUMENT: lines()}, check=check, source="benchmarks/results")


def lines() -> list[str]:
    """The table, and what its columns mean in each part."""
    rows = [*voices(read_networks()), *files(), *services(read_services())]
    return [
        "",
        *table(list(HEAD), rows),
        "Voices: the mean over gray-box attacks (T1), attacks that see labels alone (T3) and the worst of those that know the defence (T4). ONNX files: right of all pages; detected and repaired of those that fooled the network. "
        "Service: right is an image for which no attack found a change within ε (L2 0.5 on CIFAR-10 and 1.5 on Fashion-MNIST, L∞ 8 and 25/255) with 5,000 questions, detected the share of questions that was flagged; of attacks made on another network, asked once, the share of images.",
    ]


def voices(networks: Sequence[Network]) -> Iterator[Row]:
    """Benign, T1, T3 and T4 of every network."""
    found = {network.name: network for network in networks}
    for name in ORDER:
        what = f"{name}, a voice"
        if name not in found:
            yield [what, *[NOT_MEASURED] * (len(HEAD) - 1)]
            continue
        evaluation = found[name].evaluation
        benign = evaluation.benign
        yield [
            what,
            "none",
            str(benign.undefended.n),
            share(benign.undefended),
            share(benign.defended),
            "–",
            "–",
        ]
        yield [what, "T1, mean", "–", "–", "–", detected(evaluation), estimate(evaluation.mean_dsr)]
        for row in evaluation.attacks:
            if row.threat is Threat.QUERY:
                yield [
                    what,
                    f"{THREATS[row.threat]}: {row.name}",
                    str(row.defended.n),
                    share(row.undefended),
                    share(row.defended),
                    "–",
                    "–",
                ]
        for case in evaluation.worst_case:
            if case.threats == (Threat.ADAPTIVE,) and case.epsilon is not None:
                attack = f"{THREATS[Threat.ADAPTIVE]}, worst at {case.epsilon:g}"
                yield [
                    what,
                    attack,
                    str(case.defended.n),
                    share(case.undefended),
                    share(case.defended),
                    "–",
                    "–",
                ]


def files() -> Iterator[Row]:
    """Every ONNX file of others with data: benign, and attack by attack."""
    for name in (*orientation.NETWORKS, photographs.NETWORK):
        what, found = f"{name}, an ONNX file", measured(name)
        if found is None:
            yield [what, *[NOT_MEASURED] * (len(HEAD) - 1)]
            continue
        before, after = (found["benign"][which] for which in ("undefended", "defended"))
        own = " (no labels: its own answers)" if name == photographs.NETWORK else ""
        yield [what, "none" + own, str(before["n"]), stated(before), stated(after), "–", "–"]
        for row in sorted(found.get("attacks", []), key=lambda row: orientation.names().index(row["name"])):
            right = (stated(row[which]) for which in ("undefended", "defended"))
            yield [what, row["name"], str(row["images"]), *right, stated(row["detected"]), stated(row["dsr"])]


def services(networks: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Every attack through HTTP with all its questions, and what was made on another network."""
    found = {network["network"]: network for network in networks}
    for name, title in SERVED.items():
        what = f"{title}, a service of labels"
        if name not in found:
            yield [what, *[NOT_MEASURED] * (len(HEAD) - 1)]
            continue
        for attack in found[name]["attacks"].values():
            images = attack["images"]
            right = (
                share(Rate(images - succeeded(attack, service), images))
                for service in ("undefended", "defended")
            )
            operator = attack["services"]["defended"]["operator"]
            seen = f"{100 * operator['flagged'] / operator['rows']:.1f}"
            yield [what, attack["name"], str(images), *right, seen, "–"]
        for one in found[name].get("transfer", []):
            kept = (
                share(Rate(one["images"] - one["wrong"][service], one["images"]))
                for service in ("undefended", "defended")
            )
            made = f"made on another network: {one['name'].removeprefix('transfer: ')}"
            yield [what, made, str(one["images"]), *kept, share(Rate(one["flagged"], one["images"])), "–"]


if __name__ == "__main__":
    raise SystemExit(main())
