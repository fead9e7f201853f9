"""Two small pictures of the speed results, as SVG: ratios by batch size, and contenders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib

from benchmarks.plotting import SETTINGS, save
from benchmarks.speed.contenders import ABOUT
from benchmarks.speed.measure import ENGINES
from benchmarks.speed.networks import NETWORKS
from benchmarks.speed.results import NetworkResult
from benchmarks.speed.tables import LABELS
from benchmarks.speed.targets import BATCHES, RATIO_LIMITS, State
from nip_runtime.run.engine.answers import EngineKind

COLOURS: Final = {
    State.BENIGN: "#805ad5",
    State.ALWAYS: "#4c4c4c",
    State.CALM: "#1b7f5c",
    State.FEW: "#2b6cb0",
    State.ALL: "#c05621",
}
STYLES: Final = {EngineKind.FUSED: "-", EngineKind.GATED: "--"}


def draw(results: Sequence[NetworkResult], folder: Path) -> tuple[Path, Path]:
    """Draw both pictures into `folder`."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    paths = folder / "ratios.svg", folder / "contenders.svg"
    with matplotlib.rc_context(SETTINGS):
        for path, figure in zip(paths, (ratios(results, pyplot), contenders(results, pyplot)), strict=True):
            save(figure, path, pyplot)
    return paths


def ratios(results: Sequence[NetworkResult], pyplot: Any) -> Any:
    """A panel per network: ratio to one plain pass by batch size; targets as short bars."""
    columns = min(3, len(results))
    rows = -(-len(results) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2.6 * columns, 2.1 * rows + 0.6), squeeze=False)
    for axis in axes.flat[len(results) :]:
        axis.set_axis_off()
    for axis, result in zip(axes.flat, results, strict=False):
        _panel(axis, result)
    figure.supylabel("time / one plain pass", fontsize=8)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=4, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.45 / (2.1 * rows + 0.6)))
    return figure


def _panel(axis: Any, result: NetworkResult) -> None:
    places = {batch: place for place, batch in enumerate(BATCHES)}
    highest = 0.0
    for state in State:
        for engine in ENGINES:
            cells = [cell for b in BATCHES if (cell := result.cell(state, b, engine)) is not None]
            if not cells:  # results from before this state was measured
                continue
            medians = [cell.ratio.median for cell in cells]
            highest = max(highest, *medians)
            axis.errorbar(
                [places[cell.batch] for cell in cells],
                medians,
                yerr=[
                    [cell.ratio.median - cell.ratio.low for cell in cells],
                    [cell.ratio.high - cell.ratio.median for cell in cells],
                ],
                color=COLOURS[state],
                linestyle=STYLES[engine],
                marker="o",
                markersize=2.5,
                linewidth=1,
                elinewidth=0.6,
                label=f"{LABELS[state].replace('`', '')}, {engine}",
            )
        for batch, limit in RATIO_LIMITS[state].items():
            place, height = places[batch], limit * state.passes
            highest = max(highest, height)
            axis.hlines(height, place - 0.18, place + 0.18, color=COLOURS[state], linewidth=2.5, alpha=0.35)
    axis.set_title(NETWORKS[result.network].title, fontsize=8)
    axis.set_xticks(list(places.values()), [f"batch {batch}" for batch in places])
    # Medians and targets decide the scale; an interval of few rounds may run out of the picture.
    axis.set_ylim(0.9, 1.06 * highest)
    axis.grid(axis="y", linewidth=0.3, alpha=0.5)


def contenders(results: Sequence[NetworkResult], pyplot: Any) -> Any:
    """A panel per network, batch 1: time of each contender and of the file's states, in plain passes."""
    columns = min(3, len(results))
    rows = -(-len(results) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(3.6 * columns, 2.5 * rows), squeeze=False)
    for axis in axes.flat[len(results) :]:
        axis.set_axis_off()
    for axis, result in zip(axes.flat, results, strict=False):
        _bars(axis, result, batch=1)
    figure.supxlabel("time / one plain onnxruntime pass, batch 1 (logarithmic)", fontsize=8)
    figure.tight_layout()
    return figure


def _bars(axis: Any, result: NetworkResult, *, batch: int) -> None:
    entries: list[tuple[str, float, str]] = []
    for state in (State.BENIGN, State.CALM, State.ALL, State.ALWAYS):
        cell = result.cell(state, batch, EngineKind.GATED)
        if cell is not None:
            entries.append((f"file {LABELS[state].replace('`', '')}", cell.ratio.median, "#1b7f5c"))
    for rival in result.rivals:
        if rival.batch == batch:
            policy = f" ({rival.policy})" if rival.policy is not None else ""
            entries.append((ABOUT[rival.kind].short + policy, rival.to_plain.median, "#a0aec0"))
    entries.reverse()
    names = [name for name, _, _ in entries]
    axis.barh(names, [value for _, value, _ in entries], color=[colour for _, _, colour in entries])
    for place, (_, value, _) in enumerate(entries):
        axis.text(value * 1.04, place, f"{value:.1f}", va="center", fontsize=6.5)
    axis.set_xscale("log")
    axis.set_xlim(0.8, 2 * max(value for _, value, _ in entries))
    axis.set_title(NETWORKS[result.network].title, fontsize=8)
    axis.tick_params(axis="y", labelsize=6.5)
