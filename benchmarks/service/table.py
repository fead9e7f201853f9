"""Writes the tables of the label-only service: python -m benchmarks.service.table [--check]

Into docs/results.md, from benchmarks/results/service alone.
"""

# ruff: noqa: E501 (paragraphs of Markdown)
from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.markdown import Block, only_checks, table, update
from benchmarks.robustness.tables import share
from nip_evaluate.scoring.bootstrap import draw_weights
from nip_runtime.file.rates import Rate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "service"
BLOCK = Block(
    "<!-- tables of the service: written by benchmarks/service/table.py -->\n",
    "<!-- end of the tables of the service -->\n",
)
NETWORKS = {"demo": "Fashion-MNIST, the demo's VGG", "cifar-resnet20": "CIFAR-10, ResNet-20"}
NORMS = {"l2": "L2", "linf": "L∞"}
RESAMPLES, NONE = 1000, 1e8
"""Beyond NONE: nothing misclassified was found."""

Doubles = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    check = only_checks(__doc__, arguments)
    lines = ["", *page(read_networks(), read_benign())]
    return update(
        BLOCK, {ROOT / "docs" / "results.md": lines}, check=check, source="benchmarks/results/service"
    )


def read_networks(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All networks that were attacked."""
    paths = [folder / f"{name}.json" for name in NETWORKS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def read_benign(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """What the watch said of benign streams."""
    found: list[dict[str, Any]] = json.loads((folder / "benign.json").read_text(encoding="utf-8"))
    return found


def page(networks: Sequence[dict[str, Any]], benign: Sequence[dict[str, Any]]) -> list[str]:
    """Everything, nothing left out."""
    absent = [name for name in NETWORKS if name not in [network["network"] for network in networks]]
    return [
        *(attacked(networks) if networks else []),
        *([f"**Attacks not measured: {', '.join(absent)}.**", ""] if absent else []),
        "**The watch for near-duplicates on streams without an attack**, each of one client",
        "",
        *table(
            ["data", "stream", "streams", "rows", "rows near another, %", "streams with a false alarm, %"],
            [stream(row) for row in benign],
        ),
        f"Without videos: {alarms(benign)}.",
        "",
    ]


def attacked(networks: Sequence[dict[str, Any]]) -> list[str]:
    """What attacks found, and what the operator saw of them."""
    each = [(network, name) for network in networks for name in network["attacks"]]
    pairs = [f"{norm}: {what}" for norm in NORMS.values() for what in ("undefended", "defended", "ratio")]
    return [
        "**The smallest change that was found**: medians over images with 95 % bootstrap intervals; *ratio*: defended ÷ undefended of the same image, geometric mean. Below 1 the defence makes the attacker faster",
        "",
        *table(
            ["network", "attack", "n", "questions", *pairs],
            [row for network, name in each for row in changes(network, name)],
        ),
        verdict(networks),
        *stuck(networks),
        "",
        "**What the operator sees**: the gate's flags, the drift warning and the watch for near-duplicates",
        "",
        *table(
            [
                "network",
                "attack, service",
                "questions an image",
                "success within ε, % of images",
                "questions to it, median",
                "questions flagged, %",
                "drift warns after",
                "near-duplicates seen after",
                "unseen",
            ],
            [row for network, name in each for row in seen(network, name)],
        ),
        "Drift: rows of the whole attack, all images in turns (Sign-OPT: one after another), until the first warning. Near-duplicates: questions about one image whose attacker is a client of its own, median (largest); [rows until the warning where one client attacks all images].",
        "",
        "**Made on another network (T2), asked once**",
        "",
        *table(
            ["network", "attack", "n", "undefended wrong, %", "defended wrong, %", "flagged, %"],
            [row for network in networks for row in transfer(network)],
        ),
    ]


def estimate(values: Doubles, weights: Doubles) -> tuple[float, Doubles]:
    """The median of (N,) values, and (B,) resampled ones."""
    counts = weights.astype(np.int64)
    return float(np.median(values)), np.array([np.median(np.repeat(values, row)) for row in counts])


def changes(network: dict[str, Any], name: str) -> list[list[str]]:
    """A row for every number of questions."""
    attack = network["attacks"][name]
    weights = draw_weights(attack["images"], RESAMPLES)
    rows = []
    for place, questions in enumerate(network["questions"]):
        if questions > reached(attack):
            continue
        cells = [
            cell
            for norm in NORMS
            for cell in compared(attack, norm, place, weights, digits=2 if norm == "l2" else 3)
        ]
        rows.append(
            [NETWORKS[network["network"]], attack["name"], str(attack["images"]), f"{questions:,}", *cells]
        )
    return rows


def reached(attack: dict[str, Any]) -> int:
    """Questions that every image was asked about, at both services.

    Those without a start are not counted; nor is one whose attack was stuck, for which more change nothing.
    """

    def of(found: dict[str, Any]) -> int:
        stuck = found.get("stuck", [False] * len(found["asked"]))
        asked = [most if is_stuck else asked for asked, is_stuck in zip(found["asked"], stuck, strict=True)]
        return int(sorted(asked)[-found["started"]])

    services: list[dict[str, Any]] = list(attack["services"].values())
    most = max(max(found["asked"]) for found in services)
    return min(map(of, services))


@dataclass(frozen=True)
class Ratio:
    """Defended ÷ undefended, image by image.

    Attributes:
        mean: geometric mean over the images for which both services gave a misclassified question.
        low: end of its 95 % interval, by resampling images.
        high: the other one.
        smaller: images whose defended change is the smaller.
        images: that were compared.
    """

    mean: float
    low: float
    high: float
    smaller: int
    images: int

    def __str__(self) -> str:
        text = f"{self.mean:.2f} ({self.low:.2f}–{self.high:.2f})"
        shown = f"**{text}**" if self.high < 1 else text
        return f"{shown}, below 1 on {self.smaller} of {self.images}"


def ratio(attack: dict[str, Any], norm: str, place: int, weights: Doubles) -> Ratio | None:
    """How much larger a change the defence asks for; None where nothing can be compared."""
    defended, undefended = (values_of(attack, service, norm, place) for service in ("defended", "undefended"))
    found = (defended < NONE) & (undefended < NONE) & (undefended > 0)
    if not found.any():
        return None
    logs = np.log(defended[found] / undefended[found])
    drawn = weights[:, found]
    drawn = drawn[drawn.sum(1) > 0]
    low, high = np.exp(np.percentile(drawn @ logs / drawn.sum(1), (2.5, 97.5)))
    return Ratio(float(np.exp(logs.mean())), float(low), float(high), int((logs < 0).sum()), len(logs))


def values_of(attack: dict[str, Any], service: str, norm: str, place: int) -> Doubles:
    """Smallest change of every image, (N,)."""
    return np.array([row[place] for row in attack["services"][service][norm]], np.float64)


def compared(attack: dict[str, Any], norm: str, place: int, weights: Doubles, *, digits: int) -> list[str]:
    """Undefended, defended, ratio."""
    cells = []
    for service in ("undefended", "defended"):
        middle, resampled = estimate(values_of(attack, service, norm, place), weights)
        ends = np.percentile(resampled, (2.5, 97.5), method="nearest")
        shown = [f"{value:.{digits}f}" if value < NONE else "none" for value in (middle, *ends)]
        cells.append(f"{shown[0]} ({shown[1]}–{shown[2]})")
    found = ratio(attack, norm, place, weights)
    return [*cells, "–" if found is None else str(found)]


def verdict(networks: Sequence[dict[str, Any]]) -> str:
    """Where the defence makes a query attacker faster, in one sentence."""
    faster, slower, cases = list[str](), 0, 0
    for network in networks:
        for attack in network["attacks"].values():
            weights = draw_weights(attack["images"], RESAMPLES)
            for place, questions in enumerate(network["questions"]):
                norm = _norm(attack)
                found = ratio(attack, norm, place, weights) if questions <= reached(attack) else None
                if found is None:
                    continue
                cases += 1
                slower += found.low > 1
                if found.high < 1:
                    faster.append(f"{NETWORKS[network['network']]}, {attack['name']} after {questions:,}")
    told = f"{len(faster)} of {cases} rows ({'; '.join(faster)})" if faster else f"none of {cases} rows"
    return f"By the norm that each attack minimises, the whole interval below 1 (**the defence makes the attacker faster**): {told}; above 1 (slower): {slower}."


def stuck(networks: Sequence[dict[str, Any]]) -> list[str]:
    """Attacks that asked nothing new any more, in one sentence."""
    found = [
        f"{NETWORKS[network['network']]}, {attack['name']}, {service}: {sum(numbers.get('stuck', []))}"
        for network in networks
        for attack in network["attacks"].values()
        for service, numbers in attack["services"].items()
        if any(numbers.get("stuck", []))
    ]
    if not found:
        return []
    return [
        "",
        f"Images on which an attack got stuck, asking nothing new, before its questions were used up ({'; '.join(found)}): the smallest change until then counts.",
    ]


def _norm(attack: dict[str, Any]) -> str:
    return "linf" if attack["name"].endswith(NORMS["linf"]) else "l2"


def first_successes(attack: dict[str, Any], service: str) -> list[int]:
    """Questions to the first change within ε, of the images on which there was one."""
    limit = reached(attack)
    counts = attack["services"][service][f"first_{_norm(attack)}"]
    return [count for count in counts if count is not None and count <= limit]


def succeeded(attack: dict[str, Any], service: str) -> int:
    """On how many images a change within ε was found."""
    return len(first_successes(attack, service))


def seen(network: dict[str, Any], name: str) -> list[list[str]]:
    """A row for each service."""
    attack, norm = network["attacks"][name], _norm(network["attacks"][name])
    epsilon = network["epsilon"][norm]
    limit = f"{epsilon:g}" if norm == "l2" else f"{255 * epsilon:g}/255"
    rows = []
    for service in ("undefended", "defended"):
        found, images = attack["services"][service], attack["images"]
        first = first_successes(attack, service)
        middle = np.median([*first, *[10 * NONE] * (images - len(first))])
        bursts = [count for count in found["burst_row"] if count is not None]
        operator = found["operator"]
        drift = operator["drift"]
        rows.append(
            [
                NETWORKS[network["network"]],
                f"{attack['name']}, {service}",
                f"{reached(attack):,}",
                f"{share(Rate(len(first), images))} within {NORMS[norm]} {limit}",
                f"{middle:,.0f}" if middle < NONE else "more than half never",
                f"{100 * operator['flagged'] / operator['rows']:.1f} of {operator['rows']:,}",
                "never" if drift is None else f"{drift['rows']:,} rows ({drift['direction']})",
                (f"{np.median(bursts):.0f} ({max(bursts)})" if bursts else "never")
                + ("" if operator["burst_rows"] is None else f" [{operator['burst_rows']:,}]"),
                f"{images - len(bursts)} of {images}",
            ]
        )
    return rows


def transfer(network: dict[str, Any]) -> list[list[str]]:
    """A row for each attack that was made on the surrogate."""
    return [
        [
            NETWORKS[network["network"]],
            one["name"].removeprefix("transfer: "),
            str(one["images"]),
            *(share(Rate(one["wrong"][service], one["images"])) for service in ("undefended", "defended")),
            share(Rate(one["flagged"], one["images"])),
        ]
        for one in network.get("transfer", [])
    ]


def stream(row: dict[str, Any]) -> list[str]:
    """One kind of stream."""
    return [
        row["data"],
        row["kind"] + (" (*not an attack, and taken for one*)" if row["is_video"] else ""),
        str(row["streams"]),
        f"{row['rows']:,}",
        f"{100 * row['near'] / row['rows']:.2f}",
        share(Rate(row["alarmed"], row["streams"])),
    ]


def alarms(benign: Sequence[dict[str, Any]]) -> str:
    """Counts over all streams that are no videos."""
    counted = [row for row in benign if not row["is_video"]]
    alarmed, streams = sum(row["alarmed"] for row in counted), sum(row["streams"] for row in counted)
    rows = sum(row["rows"] for row in counted)
    low, high = Rate(alarmed, streams).interval
    return f"{alarmed} of {streams} streams ({100 * low:.1f}–{100 * high:.1f} %) of {rows:,} rows in all had a false alarm; shuffles of one data set are no independent samples"


if __name__ == "__main__":
    sys.exit(main())
