"""How accuracy and corrections fall as attacks grow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nip_evaluate.report.page.figures.svg import (
    GREEN,
    PURPLE,
    STYLE,
    VERMILION,
    Facet,
    band,
    percent_axis,
    rate_lengths,
    series_style,
    to_svg,
)
from nip_evaluate.terms.results import AttackResult, BenignResult, Evaluation
from nip_evaluate.terms.threats import Norm, Threat
from nip_runtime.file.rates import Rate

AdaptivePoints = Sequence[tuple[float, Rate]]


def sized_families(evaluation: Evaluation) -> list[tuple[str, list[AttackResult]]]:
    """Gray-box L∞ attacks by family, each by rising ε."""
    rows = [
        attack
        for attack in evaluation.attacks
        if attack.threat is Threat.GRAY_BOX and attack.norm is Norm.LINF and attack.epsilon is not None
    ]
    rows.sort(key=lambda attack: (attack.family, attack.epsilon or 0))
    return [(family, list(group)) for family, group in groupby(rows, key=lambda attack: attack.family)]


def adaptive_points(evaluation: Evaluation) -> AdaptivePoints:
    """What adaptive L∞ attacks leave, by ε.

    The per-image worst case at every ε for which it was worked out; elsewhere the lowest of the single
    attacks, which is more than the worst case would be.
    """
    by_size: dict[float, list[Rate]] = {}
    attacks = [attack for attack in evaluation.attacks if attack.threat is Threat.ADAPTIVE]
    for attack in attacks:
        if attack.epsilon is not None and attack.norm is Norm.LINF:
            by_size.setdefault(attack.epsilon, []).append(attack.defended)
    worst = {
        case.epsilon: case.defended for case in evaluation.worst_case if case.threats == (Threat.ADAPTIVE,)
    }
    return [
        (size, worst.get(size, min(rates, key=lambda rate: rate.value)))
        for size, rates in sorted(by_size.items())
    ]


def accuracy_facets(evaluation: Evaluation) -> tuple[Facet, ...]:
    """Accuracy against ε, undefended and defended, one figure per gray-box L∞ family."""
    families = sized_families(evaluation)
    adaptive = adaptive_points(evaluation)
    sizes = [attack.epsilon or 0 for _, rows in families for attack in rows] + [size for size, _ in adaptive]
    widest = 255 * max(sizes, default=1 / 255)
    facets = []
    for number, (family, rows) in enumerate(families):
        with rc_context(STYLE):
            figure = Figure(figsize=(3.5, 2.5), layout="constrained")
            axes = figure.subplots()
            _draw_family(axes, rows, evaluation.benign, adaptive)
            axes.set_xlim(-0.02 * widest, 1.04 * widest)
            label = f"Accuracy against ε under {family}, gray-box, undefended and defended"
            facets.append(Facet(family, to_svg(figure, name=f"accuracy{number}", label=label)))
    return tuple(facets)


def _draw_family(
    axes: Axes, rows: Sequence[AttackResult], benign: BenignResult, adaptive: AdaptivePoints
) -> None:
    xs = [0.0, *(255 * (attack.epsilon or 0) for attack in rows)]
    band(axes, xs, [benign.undefended, *(a.undefended for a in rows)], VERMILION, dashes="--")
    band(axes, xs, [benign.defended, *(a.defended for a in rows)], GREEN)
    if adaptive:
        axes.errorbar(
            [255 * size for size, _ in adaptive],
            [rate.value for _, rate in adaptive],
            yerr=rate_lengths(rate for _, rate in adaptive),
            fmt="D",
            ms=6,
            color=PURPLE,
            capsize=2,
            zorder=5,
        )
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("ε in 1/255")
    axes.set_ylabel("accuracy")
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    percent_axis(axes, "y")


def confidence_families(evaluation: Evaluation) -> list[tuple[str, list[AttackResult]]]:
    """Gray-box minimum-norm attacks with a confidence κ by family, each by rising κ."""
    rows = [
        attack
        for attack in evaluation.attacks
        if attack.threat is Threat.GRAY_BOX and attack.confidence is not None
    ]
    rows.sort(key=lambda attack: (attack.family, attack.confidence or 0))
    return [(family, list(group)) for family, group in groupby(rows, key=lambda attack: attack.family)]


def confidence_figure(evaluation: Evaluation) -> str | None:
    """DSR against the confidence κ of minimum-norm attacks; None without any that succeeded."""
    families = confidence_families(evaluation)
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.0), layout="constrained")
        axes = figure.subplots()
        drawn = False
        for number, (family, rows) in enumerate(families):
            points = [(a.confidence, a.dsr) for a in rows if a.confidence is not None and a.dsr is not None]
            if points:
                colour, dashes = series_style(number)
                band(axes, [x for x, _ in points], [rate for _, rate in points], colour, dashes=dashes)
                axes.plot([], [], dashes, color=colour, label=family)
                drawn = True
        if not drawn:
            return None
        axes.set_ylim(-0.02, 1.02)
        axes.set_xticks(
            sorted({a.confidence for _, rows in families for a in rows if a.confidence is not None})
        )
        axes.set_xlabel("confidence κ of the attack, in logits")
        axes.set_ylabel("DSR, gray-box only")
        axes.grid(axis="y")
        percent_axis(axes, "y")
        axes.legend(loc="best")
        return to_svg(
            figure, name="confidence", label="DSR against the confidence of the attack, gray-box only"
        )
