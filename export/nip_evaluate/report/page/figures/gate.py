"""The gate at every threshold: what it costs, what it buys, and how well it tells attacks from the rest."""

from __future__ import annotations

from matplotlib import rc_context
from matplotlib.figure import Figure

from nip_evaluate.report.page.figures.svg import GREY, INK, STYLE, percent_axis, series_style, to_svg
from nip_evaluate.terms.results import Evaluation

LOWEST = 1e-3
"""Left end of the false-alarm axis at most; a rate measured on n images means nothing below 1/n."""


def trade_off_figure(evaluation: Evaluation) -> str | None:
    """Mean DSR against benign accuracy given up, for the file and its variants; None without any curve."""
    curves = [curve for curve in evaluation.trade_offs if curve.points]
    if not curves:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.9), layout="constrained")
        axes = figure.subplots()
        for number, curve in enumerate(curves):
            colour, dashes = series_style(number)
            costs = [100 * point.cost.value for point in curve.points]
            means = [point.mean_dsr for point in curve.points]
            axes.fill_between(
                costs,
                [mean.low for mean in means],
                [mean.high for mean in means],
                color=colour,
                alpha=0.13,
                lw=0,
            )
            axes.plot(costs, [m.value for m in means], dashes, color=colour, lw=2.2 if number == 0 else 1.5)
            axes.plot([], [], dashes, color=colour, lw=2, label=curve.name)
            if curve.chosen is not None:
                axes.plot(
                    costs[curve.chosen],
                    means[curve.chosen].value,
                    "*",
                    ms=15,
                    color=colour,
                    mec=INK,
                    zorder=5,
                )
        axes.plot([], [], "*", ms=11, color=GREY, mec=INK, label="as exported")
        axes.set_xlabel("benign accuracy given up, in points")
        axes.set_ylabel("mean DSR, gray-box only")
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]), top=min(1.02, axes.get_ylim()[1]))
        axes.grid()
        percent_axis(axes, "y")
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(
            figure, name="tradeoff", label="Mean DSR against benign accuracy given up, gray-box only"
        )


def roc_figure(evaluation: Evaluation) -> str | None:
    """Detections against false alarms, which are drawn on a log scale; None without any curve."""
    curves = [roc for roc in evaluation.detector if roc.points]
    if not curves:
        return None
    lowest = min(LOWEST, *(1 / max(roc.benign, 1) for roc in curves))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4 + 0.11 * len(curves)), layout="constrained")
        axes = figure.subplots()
        for number, roc in enumerate(curves):
            colour, dashes = series_style(number)
            alarms = [max(alarm, lowest) for alarm, _ in roc.points]
            label = f"{roc.attack}: {roc.auc.value:.3f} [{roc.auc.low:.3f}, {roc.auc.high:.3f}]"
            axes.step(
                alarms, [d for _, d in roc.points], dashes, where="post", color=colour, lw=1.5, label=label
            )
        chance = [lowest * (1 / lowest) ** (step / 60) for step in range(61)]
        axes.plot(chance, chance, color=GREY, lw=0.8, label="chance: 0.5")
        axes.set_xscale("log")
        axes.set_xlim(lowest, 1)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("benign images held for attacked")
        axes.set_ylabel("successes detected")
        axes.grid()
        percent_axis(axes, "x")
        percent_axis(axes, "y")
        figure.legend(loc="outside lower center", title="AUC, with 95% interval", fontsize=9, ncols=2)
        return to_svg(figure, name="roc", label="Detections against false alarms per attack")


def risk_coverage_figure(evaluation: Evaluation) -> str | None:
    """Wrong answers among those given, as the most suspicious rows go unanswered; None without any curve."""
    curves = [curve for curve in evaluation.risk_coverage if curve.points]
    if not curves:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2 + 0.11 * len(curves)), layout="constrained")
        axes = figure.subplots()
        for number, curve in enumerate(curves):
            colour, dashes = series_style(number)
            xs, ys = zip(*sorted(curve.points), strict=True)
            axes.plot(xs, ys, dashes, color=colour, lw=1.5, label=f"{curve.name} (n = {curve.n})")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("rows answered, least suspicious first")
        axes.set_ylabel("wrong answers among them")
        axes.grid()
        percent_axis(axes, "x")
        percent_axis(axes, "y")
        figure.legend(loc="outside lower center", fontsize=9, ncols=2)
        return to_svg(figure, name="risk", label="Wrong answers against the share of rows answered")
