"""Time of a run, plain and defended."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from nip_evaluate.report.page.figures.svg import GREEN, STYLE, VERMILION, to_svg
from nip_evaluate.terms.results import Latency


def latency_figure(latency: tuple[Latency, ...]) -> str | None:
    """Milliseconds per image for every batch size; None without any."""
    if not latency:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(4.8, 0.62 * len(latency) + 1.0), layout="constrained")
        axes = figure.subplots()
        rows = np.arange(len(latency))
        plain = [entry.plain_ms / entry.batch for entry in latency]
        defended = [entry.defended_ms / entry.batch for entry in latency]
        axes.barh(rows - 0.18, plain, height=0.32, color=VERMILION, label="plain file")
        bars = axes.barh(rows + 0.18, defended, height=0.32, color=GREEN, label="defended file")
        axes.bar_label(bars, [f" {entry.ratio:.2f} ×" for entry in latency])
        axes.set_yticks(rows, [f"batch {entry.batch}" for entry in latency])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.15 * max(*plain, *defended))
        axes.set_xlabel("milliseconds per image")
        figure.legend(loc="outside upper right", ncols=2)
        return to_svg(figure, name="latency", label="Milliseconds per image, plain and defended file")
