"""Where influence goes under attack, and with the inverse perturbation added."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from nip_evaluate.report.page.figures.svg import (
    BLUE,
    GREEN,
    INK,
    STYLE,
    VERMILION,
    Facet,
    estimate_lengths,
    to_svg,
)
from nip_evaluate.terms.results import Estimate, InfluenceGroups

Groups = tuple[Estimate, Estimate, Estimate]


def group_facets(influence: tuple[InfluenceGroups, ...]) -> tuple[Facet, ...]:
    """Mean influence per neuron of front, middle and tail, one figure per attack."""
    facets = []
    for number, groups in enumerate(influence):
        with rc_context(STYLE):
            figure = Figure(figsize=(3.5, 2.3), layout="constrained")
            axes = figure.subplots()
            for place, (_, estimates, colour) in enumerate(_conditions(groups)):
                axes.bar(
                    np.arange(3) + (place - 1) * 0.27,
                    [estimate.value for estimate in estimates],
                    width=0.25,
                    yerr=estimate_lengths(estimates),
                    color=colour,
                    ecolor=INK,
                    error_kw={"lw": 0.8},
                    capsize=2,
                )
            axes.axhline(0, color=INK, lw=0.6)
            axes.set_xticks(np.arange(3), [f"front {groups.top_k}", "middle", f"tail {groups.top_k}"])
            axes.set_ylabel("influence per neuron")
            label = f"Mean influence of front, middle and tail neurons under {groups.attack}"
            title = f"{groups.attack}, n = {groups.benign[0].n}"
            facets.append(Facet(title, to_svg(figure, name=f"groups{number}", label=label)))
    return tuple(facets)


def rank_figure(groups: InfluenceGroups) -> str:
    """Mean influence at every rank of the class profile, for one attack."""
    curves = (groups.benign_by_rank, groups.attacked_by_rank, groups.defended_by_rank)
    width = len(groups.benign_by_rank)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = figure.subplots()
        for curve, (name, _, colour) in zip(curves, _conditions(groups), strict=True):
            # The attacked curve is wider: it shows from below where the second look changes nothing.
            thickness = 3.0 if colour == VERMILION else 1.4
            axes.plot(np.arange(1, width + 1), curve, color=colour, lw=thickness, label=name)
        for start, stop in ((0.5, groups.top_k + 0.5), (width - groups.top_k + 0.5, width + 0.5)):
            axes.axvspan(start, stop, color="#888888", alpha=0.18, lw=0)
        axes.axhline(0, color=INK, lw=0.6)
        axes.set_xlim(0.5, width + 0.5)
        axes.set_xlabel(f"neuron, by its rank in the class profile (shaded: front and tail {groups.top_k})")
        axes.set_ylabel("influence on the true class")
        figure.legend(loc="outside upper center", ncols=3)
        return to_svg(figure, name="ranks", label=f"Influence of neurons by rank under {groups.attack}")


def _conditions(groups: InfluenceGroups) -> tuple[tuple[str, Groups, str], ...]:
    return (
        ("benign", groups.benign, BLUE),
        ("attacked", groups.attacked, VERMILION),
        ("second look", groups.defended, GREEN),
    )
