"""Which early layers get a say: the earliest whose read-out, on benign images alone, is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_export.defence import statistics
from nip_export.defence.spec import ReadOut
from nip_export.fit.profiles import as_stored, fit_readout, fit_temperature
from nip_export.network import Tap, TapPlan
from nip_export.network.run import Passed, TapCells
from nip_runtime.errors import ExportError
from nip_runtime.file.rates import Rate

WIDEST = 1024
"""Longest pooled activation: a few thousand images still estimate a shared covariance of this size."""
NAME_SOME = (
    "name earlier layers in taps, if any will do though not all of the network's paths pass through them"
)
QUALIFYING_SHARE = 0.8
"""A read-out qualifies if it is right at least this often for every time that the backbone is."""


@dataclass(frozen=True)
class LayerReport:
    """One early layer's read-out: its pooling, its accuracy on calibration images, and whether it is used."""

    tap: str
    cells: int
    accuracy: Rate
    used: bool


def grid_of(tap: Tap, wanted: int) -> TapCells:
    """The finest grid of at most `wanted` cells per axis that keeps the pooled activation short enough."""
    cells = tap.cells(wanted)
    while cells > 1 and tap.width(cells=cells) > WIDEST:
        cells -= 1
    return TapCells(tap, cells)


def grids_of(plan: TapPlan, wanted: int) -> tuple[TapCells, ...]:
    """Pooling of all tapped layers: early maps by cells, the features by channel."""
    return tuple(
        TapCells(tap, 1) if tap.name == plan.features else grid_of(tap, wanted) for tap in plan.layers
    )


def choose_readouts(
    grids: Sequence[TapCells],
    profile: Passed,
    profile_labels: NDArray[np.int64],
    calibration: Passed,
    calibration_labels: NDArray[np.int64],
    *,
    count: int,
) -> tuple[tuple[ReadOut, ...], tuple[LayerReport, ...]]:
    """Fit a read-out to every early layer and choose among them.

    An attack on the logits moves the earliest layers least, so the `count` earliest layers are taken whose
    read-out is right at least 0.8 times as often as the backbone. If none is, the most accurate one is.

    Args:
        grids: the early layers, in execution order.
        profile: pass 1 over the correctly classified images that read-outs are fitted to.
        profile_labels: (N,) int64.
        calibration: pass 1 over held-out images, for temperature and accuracy.
        calibration_labels: (M,) int64.
        count: how many to choose.

    Raises:
        ExportError: no early layer is tapped.
    """
    if not grids:
        raise ExportError(f"expected a layer before the features, got none; {NAME_SOME}")
    classes = profile.logits.shape[1]
    needed = QUALIFYING_SHARE * float((calibration.logits.argmax(1) == calibration_labels).mean())
    fitted: list[tuple[ReadOut, Rate]] = []
    for grid in grids:
        name = grid.tap.name
        linear = fit_readout(profile.pooled[name], profile_labels, classes=classes)
        factor = fit_temperature(linear(calibration.pooled[name]), calibration_labels)
        readout = ReadOut(
            tap=name,
            kind=grid.tap.kind,
            cells=grid.cells,
            weight=(linear.weight * factor).astype(np.float32),
            bias=(linear.bias * factor).astype(np.float32),
        )
        # Rounded before anything is chosen or calibrated by it: the file answers with these weights.
        readout = as_stored(readout, profile.pooled[name].mean(0))
        scores = statistics.evidence([readout], calibration.pooled)
        right = int((scores.argmax(1) == calibration_labels).sum())
        fitted.append((readout, Rate(right, len(calibration_labels))))
    qualified = [pair for pair in fitted if pair[1].value >= needed]
    chosen = qualified[:count] or [max(fitted, key=lambda pair: pair[1].value)]
    used = {readout.tap for readout, _ in chosen}
    reports = tuple(LayerReport(r.tap, r.cells, accuracy, r.tap in used) for r, accuracy in fitted)
    return tuple(readout for readout, _ in chosen), reports
