"""The README's plot: accuracy by ε, with and without the defence, and what an adaptive attacker leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.imagenet.run import RESULTS as IMAGENET
from benchmarks.plotting import SETTINGS, save
from benchmarks.robustness.front import weakest
from benchmarks.robustness.results import Network, worst
from benchmarks.robustness.tables import CURVE, grouped
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate

UNDEFENDED, DEFENDED, ADAPTIVE = "#4c4c4c", "#1b7f5c", "#c05621"


@dataclass(frozen=True)
class Point:
    """Accuracy at one ε, in units of 1/255."""

    epsilon: float
    rate: Rate


@dataclass(frozen=True)
class Panel:
    """One network: PGD on the bare network, the same on the file, and adaptive attacks on the file."""

    title: str
    undefended: tuple[Point, ...]
    defended: tuple[Point, ...]
    adaptive: tuple[Point, ...]


def panels(networks: Sequence[Network]) -> list[Panel]:
    """The weakest network of every group, and the one of ImageNet."""
    found = [_photographs()] if IMAGENET.is_file() else []
    for group, members in grouped(networks):
        network = weakest(members)
        attacks = {attack.name: attack for attack in network.main.attacks}
        seen = [(_steps(name), attacks[name]) for name in CURVE if name in attacks]
        benign = network.main.benign
        cases = [(255 * size, worst(network.main, (Threat.ADAPTIVE,), size)) for size in group.sizes]
        found.append(
            Panel(
                f"{group.title.partition(',')[0]}, {network.name}",
                (Point(0, benign.undefended), *(Point(eps, one.undefended) for eps, one in seen)),
                (Point(0, benign.defended), *(Point(eps, one.defended) for eps, one in seen)),
                tuple(Point(eps, case.defended) for eps, case in cases if case is not None),
            )
        )
    return found


def _steps(name: str) -> float:
    return float(name.removeprefix("PGD ").removesuffix("/255"))


def _photographs() -> Panel:
    found = json.loads(IMAGENET.read_text(encoding="utf-8"))
    attacks = {attack["name"]: attack for attack in found["attacks"]}
    seen = [(_steps(name), attacks[name]) for name in CURVE if name in attacks]

    def points(which: str) -> tuple[Point, ...]:
        benign = Point(0, _rate(found["benign"][which]))
        return (benign, *(Point(eps, _rate(one[which])) for eps, one in seen))

    knowing = [one for one in found["attacks"] if one["threat"] == Threat.ADAPTIVE]
    # Each of few photographs; the strongest of the attacks stands for all, which leave no more than it.
    strongest = min(knowing, key=lambda one: one["defended"]["count"], default=None)
    adaptive = () if strongest is None else (Point(_size(strongest), _rate(strongest["defended"])),)
    return Panel(f"ImageNet, {found['network']}", points("undefended"), points("defended"), adaptive)


def _size(attack: dict[str, Any]) -> float:
    return float(attack["name"].rpartition(" ")[2].removesuffix("/255"))


def _rate(plain: dict[str, Any]) -> Rate:
    return Rate(plain["count"], plain["n"])


def draw(networks: Sequence[Network], path: Path) -> None:
    """Draw the panels side by side into an SVG file. The same results give the same bytes."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    found = panels(networks)
    with matplotlib.rc_context(SETTINGS):
        figure, axes = pyplot.subplots(
            1, len(found), figsize=(2.1 * len(found), 2.4), sharey=True, squeeze=False
        )
        for axis, panel in zip(axes.flat, found, strict=True):
            _draw_panel(axis, panel)
        axes[0, 0].set_ylabel("right answers, %")
        figure.supxlabel("largest change of a pixel, in steps of 1/255", fontsize=8)
        handles, labels = axes[0, -1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=3, fontsize=8, frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 0.9))
        save(figure, path, pyplot)


def _draw_panel(axis: Any, panel: Panel) -> None:
    for points, colour, style, label in (
        (panel.undefended, UNDEFENDED, "--o", "PGD on the network alone"),
        (panel.defended, DEFENDED, "-o", "the same attacks on the file"),
        (panel.adaptive, ADAPTIVE, "X", "attackers who know the file (T4)"),
    ):
        axis.errorbar(
            [point.epsilon for point in points],
            [100 * point.rate.value for point in points],
            yerr=_spread(points),
            fmt=style,
            color=colour,
            label=label,
            markersize=6 if style == "X" else 3,
            linewidth=1.2,
            elinewidth=0.8,
            clip_on=False,
        )
    axis.set_xticks([point.epsilon for point in panel.undefended])
    axis.set_title(panel.title, fontsize=8)
    axis.set_ylim(0, 100)


def _spread(points: Iterable[Point]) -> list[list[float]]:
    lows, highs = [], []
    for point in points:
        low, high = point.rate.interval
        lows.append(100 * (point.rate.value - low))
        highs.append(100 * (high - point.rate.value))
    return [lows, highs]
