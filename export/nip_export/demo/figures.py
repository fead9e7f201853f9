"""The report's figures, as inline SVG and PNG. Everything here takes plain arrays and scores and draws what
is in them."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave

from nip_export.demo.influence import Condition, InfluenceShift
from nip_export.demo.scores import DemoScores
from nip_runtime.rates import Rate

FloatArray = npt.NDArray[np.float32]

# Replaced by CSS's currentColor in the SVG, so that text and axes follow the reader's light or dark theme.
_INK = "#010203"
# Okabe-Ito: told apart with every kind of colour vision.
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
CONDITION_COLOURS = {Condition.BENIGN: BLUE, Condition.ATTACKED: VERMILION, Condition.RESTORED: GREEN}
_STYLE: Any = {
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "legend.frameon": False,
}


def png_uri(image: FloatArray) -> str:
    """A PNG data URI of one image (C, H, W) in [0, 1]; C is 1 or 3."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(rgb), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def signed_png_uri(difference: FloatArray, *, scale: float) -> str:
    """A PNG data URI of a signed difference (C, H, W): grey is no change, ±`scale` is white or black."""
    return png_uri(np.float32(0.5) + difference / np.float32(2 * scale))


def accuracy_figure(scores: DemoScores) -> str:
    """Accuracy undefended and defended, benign and per attack, with Wilson 95 % intervals; an SVG element."""
    names = ["benign", *(score.case.name for score in scores.attacks)]
    undefended = [scores.benign.undefended, *(score.undefended for score in scores.attacks)]
    defended = [scores.benign.defended, *(score.defended for score in scores.attacks)]
    with rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 0.46 * len(names) + 1.1), layout="constrained")
        axes = figure.subplots()
        rows = np.arange(len(names))
        for rates, offset, colour, label in (
            (undefended, -0.16, VERMILION, "undefended"),
            (defended, 0.16, GREEN, "defended"),
        ):
            axes.barh(
                rows + offset,
                [rate.value for rate in rates],
                height=0.3,
                xerr=_error_bars(rates),
                color=colour,
                ecolor=_INK,
                capsize=2,
                label=label,
            )
        axes.set_yticks(rows, names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("accuracy (bars: Wilson 95 % interval)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        figure.legend(loc="outside upper right", ncols=2)
        return to_svg(
            figure, name="accuracy", label="Accuracy undefended and defended, benign and per attack"
        )


def influence_figure(shift: InfluenceShift) -> str:
    """Where influence goes under attack and after the inverse perturbation; an SVG element.

    Left, every neuron of the layer in the order of its image's class profile; right, the means of its three
    groups. Both are means over the same images.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_ranks(left, shift)
        _draw_groups(right, shift)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        return to_svg(
            figure,
            name="influence",
            label="Influence of neurons on the true class before the attack, after it, and after the defence",
        )


def _draw_ranks(axes: Axes, shift: InfluenceShift) -> None:
    width = shift.neurons
    for condition, curve in shift.by_rank().items():
        axes.plot(np.arange(1, width + 1), curve, color=CONDITION_COLOURS[condition], lw=1.6, label=condition)
    for start, stop in ((0.5, shift.top_k + 0.5), (width - shift.top_k + 0.5, width + 0.5)):
        axes.axvspan(start, stop, color="#888888", alpha=0.18, lw=0)
    axes.axhline(0, color=_INK, lw=0.6)
    axes.set_xlim(0.5, width + 0.5)
    axes.set_xlabel(
        f"neuron, by its rank in the class profile (shaded: front {shift.top_k}, tail {shift.top_k})"
    )
    axes.set_ylabel("influence on the true class")


def _draw_groups(axes: Axes, shift: InfluenceShift) -> None:
    groups = shift.by_group()
    for number, (condition, means) in enumerate(groups.items()):
        axes.bar(
            np.arange(3) + (number - 1) * 0.27,
            [mean.value for mean in means],
            width=0.25,
            yerr=[mean.half_width for mean in means],
            color=CONDITION_COLOURS[condition],
            ecolor=_INK,
            capsize=2,
        )
    axes.axhline(0, color=_INK, lw=0.6)
    axes.set_xticks(np.arange(3), [f"front {shift.top_k}", "middle", f"tail {shift.top_k}"])
    axes.set_ylabel("mean influence per neuron (95 % interval)")


def _error_bars(rates: Sequence[Rate]) -> npt.NDArray[np.float64]:
    # An interval's ends can pass the value by rounding at 0 of n; matplotlib refuses negative lengths.
    ends = [(rate.value - rate.interval[0], rate.interval[1] - rate.value) for rate in rates]
    lengths: npt.NDArray[np.float64] = np.maximum(np.array(ends).T, 0)
    return lengths


def to_svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as one <svg> element for inlining.

    Ids are prefixed by `name`, for several figures share one page; colours that mean "ink" become
    currentColor.
    """
    buffer = io.StringIO()
    # The salt makes generated ids, and so the report, the same in every run.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'url\(#|(?<=href=")#', lambda match: f"{match.group()}{name}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(_INK, "currentColor")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
