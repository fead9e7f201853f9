"""The file beside every baseline, attack by attack."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nip_evaluate.report.page.figures.svg import (
    BLUE,
    GREEN,
    GREY,
    INK,
    STYLE,
    VERMILION,
    estimate_lengths,
    percent_axis,
    rate_lengths,
    to_svg,
)
from nip_evaluate.report.page.reading import SIGNIFICANT
from nip_evaluate.terms.results import AttackResult, BaselineAttack, BaselineResult, Estimate, Evaluation
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate

COLUMNS = (5, 4, 3)
"""Plots side by side, whichever leaves the fewest places empty."""
MOST = 12
"""Attacks drawn at most; the tables have them all."""


@dataclass(frozen=True)
class Dot:
    """One defence under one attack: its share with an interval, or why there is none."""

    value: Rate | Estimate | str
    colour: str
    marker: str


def drawn_attacks(evaluation: Evaluation) -> list[AttackResult]:
    """Gray-box attacks that count in the mean, or, if none does, the first dozen."""
    gray = [attack for attack in evaluation.attacks if attack.threat is Threat.GRAY_BOX]
    return ([attack for attack in gray if attack.core] or gray)[:MOST]


def dsr_figure(evaluation: Evaluation) -> str | None:
    """DSR per attack: one small plot per attack with a row per defence, or, without baselines, one plot with
    a row per attack; None if no attack succeeded."""
    attacks = [attack for attack in drawn_attacks(evaluation) if attack.dsr is not None]
    if not attacks:
        return None
    with rc_context(STYLE):
        figure = _facets(evaluation, attacks) if evaluation.baselines else _rows(attacks)
        return to_svg(figure, name="dsr", label="DSR per attack, file and baselines, gray-box only")


def _rows(attacks: Sequence[AttackResult]) -> Figure:
    figure = Figure(figsize=(4.8, 0.32 * len(attacks) + 0.8), layout="constrained")
    axes = figure.subplots()
    dots = [_file(attack.dsr) for attack in attacks]
    _draw(axes, dots, [attack.name for attack in attacks])
    axes.set_xlabel("DSR, gray-box only")
    return figure


def _facets(evaluation: Evaluation, attacks: Sequence[AttackResult]) -> Figure:
    baselines = sorted(evaluation.baselines, key=lambda baseline: baseline.variant)
    panels: list[tuple[str, list[Dot]]] = []
    if evaluation.mean_dsr is not None:
        means = [_dot(baseline.mean_dsr, baseline, None) for baseline in baselines]
        panels.append(("mean of core attacks", [_file(evaluation.mean_dsr), *means]))
    for attack in attacks:
        dots = [_file(attack.dsr)]
        for baseline in baselines:
            found = next((entry for entry in baseline.attacks if entry.name == attack.name), None)
            dots.append(_dot(None if found is None else found.dsr, baseline, found))
        panels.append((attack.name, dots))
    names = ["this file", *(textwrap.shorten(baseline.name, 34, placeholder="…") for baseline in baselines)]
    columns = min(len(panels), min(COLUMNS, key=lambda number: -len(panels) % number))
    lines = -(-len(panels) // columns)
    figure = Figure(
        figsize=(2.4 + 7.4 / max(columns, 3) * columns, lines * (0.21 * len(names) + 0.75)),
        layout="constrained",
    )
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (title, dots) in zip(grid, panels, strict=False):
        _draw(axes, dots, names)
        _draw_reference(axes, dots[0])
        axes.set_title(textwrap.fill(title, 20))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    # The lowest plot of every column carries the scale, also where the last line is not full.
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("DSR, gray-box only")
    return figure


def _file(value: Rate | Estimate | None) -> Dot:
    return Dot("not measured" if value is None else value, GREEN, "D")


def _dot(value: Rate | Estimate | None, baseline: BaselineResult, attack: BaselineAttack | None) -> Dot:
    test = None if attack is None else attack.against_file
    if attack is None:
        ahead = baseline.lead is not None and baseline.lead.high < 0
    else:
        ahead = test is not None and test.only_second > test.only_first and test.p_value < SIGNIFICANT
    colour = VERMILION if ahead else GREY if baseline.variant else BLUE
    return Dot("not measured" if value is None else value, colour, "s" if baseline.variant else "o")


def _draw(axes: Axes, dots: Sequence[Dot], names: Sequence[str]) -> None:
    for row, dot in enumerate(dots):
        if isinstance(dot.value, str):
            axes.text(0.02, row, dot.value, va="center", fontsize=7.5, alpha=0.7)
            continue
        lengths = rate_lengths([dot.value]) if isinstance(dot.value, Rate) else estimate_lengths([dot.value])
        size = 6 if dot.marker == "D" else 4.2
        axes.errorbar(
            dot.value.value, row, xerr=lengths, fmt=dot.marker, ms=size, color=dot.colour, lw=1.1, capsize=0
        )
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.5, 1])
    axes.grid(axis="both")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    percent_axis(axes, "x")


def _draw_reference(axes: Axes, file: Dot) -> None:
    axes.axhspan(-0.5, 0.5, color=GREEN, alpha=0.1, lw=0)
    if not isinstance(file.value, str):
        axes.axvline(file.value.value, color=GREEN, lw=0.8, ls=":")
