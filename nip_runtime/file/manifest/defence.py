"""What a file's defence is made of: layers, perturbations, settings, gate and second pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nip_runtime.file.manifest.checks import require, require_finite
from nip_runtime.file.manifest.choices import BankStorage, PerturbationMethod, ViewStep
from nip_runtime.file.rates import Rate


@dataclass(frozen=True, kw_only=True)
class TapInfo:
    """A tapped layer: its channels, and the cells per channel that its map is pooled to (1 or 2×2 = 4)."""

    name: str
    channels: int
    cells: int

    def __post_init__(self) -> None:
        require(self.name != "", "name", "a layer", self.name)
        require(self.channels >= 1, "channels", "at least 1", self.channels)
        require(self.cells >= 1, "cells", "at least 1", self.cells)


@dataclass(frozen=True, kw_only=True)
class BankInfo:
    """The stored inverse perturbations: ``rows`` of ``shape`` values, ``size_bytes`` in all."""

    rows: int
    shape: tuple[int, ...]
    storage: BankStorage
    size_bytes: int

    def __post_init__(self) -> None:
        require(self.rows >= 1, "rows", "at least 1", self.rows)
        require(len(self.shape) > 0 and min(self.shape) > 0, "shape", "positive sizes", self.shape)
        require(self.size_bytes >= 0, "size_bytes", "0 or more", self.size_bytes)


@dataclass(frozen=True, kw_only=True)
class DefenceInfo:
    """What the defence is made of.

    ``taps`` are the early layers whose read-outs the gate asks, or, where none of them knows anything and the
    network's own doubt stands in, the features alone.
    ``eps_pixel`` is the largest absolute change of an input element, in input units. ``screen_threshold``
    (None without a screen) and ``flag_threshold`` are the calibrated cuts of the gate's statistics.
    """

    taps: tuple[TapInfo, ...]
    influence_layer: str
    top_k: int
    eps_pixel: float
    bank: BankInfo
    readout_size_bytes: int
    tests: tuple[str, ...]
    screen_threshold: float | None
    flag_threshold: float

    def __post_init__(self) -> None:
        require(len(self.taps) > 0, "taps", "at least one tapped layer", self.taps)
        require(self.influence_layer != "", "influence_layer", "a layer", self.influence_layer)
        require(self.top_k >= 1, "top_k", "at least 1", self.top_k)
        require(0 < self.eps_pixel < math.inf, "eps_pixel", "a positive size", self.eps_pixel)
        require(self.readout_size_bytes >= 0, "readout_size_bytes", "0 or more", self.readout_size_bytes)
        if self.screen_threshold is not None:
            require_finite("screen_threshold", [self.screen_threshold])
        require_finite("flag_threshold", [self.flag_threshold])

    @property
    def early(self) -> tuple[str, ...]:
        """Names of the early layers that have a say; none where the network's own doubt stands in."""
        return tuple(tap.name for tap in self.taps if tap.name != self.influence_layer)


@dataclass(frozen=True, kw_only=True)
class SettingsInfo:
    """What the export was asked for, as far as the rest does not tell: to make the defence once more.

    ``screen_rate`` is the share of benign images that may take the second pass, ``ascent_steps`` the gradient
    steps of the method ``ascent``.
    """

    screen_rate: float
    perturbation: PerturbationMethod
    ascent_steps: int

    def __post_init__(self) -> None:
        require(0 < self.screen_rate <= 1, "screen_rate", "a share above 0, at most 1", self.screen_rate)
        require(self.ascent_steps >= 1, "ascent_steps", "at least 1", self.ascent_steps)


@dataclass(frozen=True, kw_only=True)
class ViewInfo:
    """A view that was tried on benign images.

    ``kept`` is the share of rightly classified images that keep their class under it; ``told`` the
    probability that the response is larger for one of the network's own mistakes than for a right answer;
    ``repaired`` the share of those mistakes whose class the defence's answer would name, None if there were
    none; ``strength`` how far features move, as a share of their mean distance from the benign mean.
    """

    view: tuple[ViewStep, ...]
    rho: bool
    kept: Rate
    told: float
    repaired: Rate | None
    strength: float

    def __post_init__(self) -> None:
        require(len(set(self.view)) == len(self.view), "view", "every step at most once", self.view)
        require(0 <= self.told <= 1, "told", "a probability", self.told)
        require(0 <= self.strength < math.inf, "strength", "0 or more", self.strength)


@dataclass(frozen=True, kw_only=True)
class GateInfo:
    """How the second pass looks at an input, and what typicality and answer are made of.

    ``view`` lists the steps in order, ``rho`` tells whether the inverse perturbation is added behind them.
    Typicality is the distance to the nearest of ``centres`` benign class means of ``typicality_layer``, in
    ``directions`` whitened directions. ``early_weight`` is what early evidence counts beside the shifts.
    ``views_tried`` is empty where the user named the view.
    """

    view: tuple[ViewStep, ...]
    rho: bool
    typicality_layer: str
    centres: int
    directions: int
    early_weight: float
    views_tried: tuple[ViewInfo, ...]

    def __post_init__(self) -> None:
        require(len(set(self.view)) == len(self.view), "view", "every step at most once", self.view)
        require(self.rho or len(self.view) > 0, "rho", "true where the view has no step", self.rho)
        require(self.typicality_layer != "", "typicality_layer", "a layer", self.typicality_layer)
        require(self.centres >= 1, "centres", "at least 1", self.centres)
        require(self.directions >= 1, "directions", "at least 1", self.directions)
        require(0 <= self.early_weight < math.inf, "early_weight", "0 or more", self.early_weight)


@dataclass(frozen=True, kw_only=True)
class SecondPassInfo:
    """How the second pass is kept from having no rows, and how far it was compared.

    With ``padding_row`` some row takes it in every batch: where the screen picks none, the first one, and
    nothing is made of that. Without, an engine that runs the file as it is may see operators on no rows.
    ``compared`` counts the rows whose answer from the second pass was compared with the references: for
    policy ``guarded`` a corrected one.
    """

    padding_row: bool
    compared: int

    def __post_init__(self) -> None:
        require(self.compared >= 0, "compared", "0 or more", self.compared)
