"""What all figures share: colours, style, and the way into the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nip_evaluate.terms.results import Estimate
from nip_runtime.file.rates import Rate

INK = "#010203"
"""Replaced by CSS's currentColor in the SVG: text and axes follow the reader's light or dark theme."""
# Okabe-Ito: told apart with every kind of colour vision.
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
ORANGE, SKY, PURPLE, GREY = "#e69f00", "#56b4e9", "#cc79a7", "#8a8f98"
SERIES = (GREEN, BLUE, VERMILION, ORANGE, SKY, PURPLE, GREY)
DASHES = ("-", "--", ":", "-.")
STYLE: Any = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "font.size": 9.5,
    "legend.frameon": False,
    "grid.color": "#8a8f98",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Facet:
    """One of several small figures side by side."""

    title: str
    svg: str


def series_style(number: int) -> tuple[str, str]:
    """Colour and dashes of the nth of several lines, all different up to 28."""
    return SERIES[number % len(SERIES)], DASHES[number // len(SERIES) % len(DASHES)]


def band(axes: Axes, xs: Sequence[float], rates: Sequence[Rate], colour: str, *, dashes: str = "-") -> None:
    """A line through shares, with the band of their Wilson 95 % intervals."""
    lows, highs = zip(*(rate.interval for rate in rates), strict=True)
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.18, lw=0)
    axes.plot(xs, [rate.value for rate in rates], dashes, color=colour, lw=1.6, marker="o", ms=4)


def rate_lengths(rates: Iterable[Rate]) -> NDArray[np.float64]:
    """Lengths (2, n) of the error bars of shares."""
    return _lengths((rate.value, *rate.interval) for rate in rates)


def estimate_lengths(estimates: Iterable[Estimate]) -> NDArray[np.float64]:
    """Lengths (2, n) of the error bars of estimates."""
    return _lengths((estimate.value, estimate.low, estimate.high) for estimate in estimates)


def _lengths(triples: Iterable[tuple[float, float, float]]) -> NDArray[np.float64]:
    # An interval's ends can pass the value by rounding; matplotlib refuses negative lengths.
    ends = np.array([(value - low, high - value) for value, low, high in triples]).reshape(-1, 2)
    lengths: NDArray[np.float64] = np.maximum(ends.T, 0)
    return lengths


def percent_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Print the ticks of a share as percent."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")


def to_svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as one <svg> element for inlining.

    Ids are prefixed by `name`, for several figures share one page; colours that mean "ink" become
    currentColor; namespaces go, for HTML's parser knows them.

    Args:
        figure: drawn under `STYLE`.
        name: unique on the page; letters, digits and hyphens.
        label: what readers hear who cannot see it.
    """
    buffer = io.StringIO()
    # The salt makes generated ids, and so the page, the same in every run.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'url\(#|(?<=href=")#', lambda match: f"{match.group()}{name}-", text)
    text = text.replace(INK, "currentColor")
    return text.replace("<svg ", f'<svg role="img" aria-label="{_attribute(label)}" ', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
