"""The defence as numbers: what calibration found, and what oracle, twin and graph each compute with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_export.defence.views import View, check_view
from nip_export.network import TapKind
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy

Array = NDArray[np.float32]

MOST_STEPS = 127
"""Largest whole number that a stored perturbation or weight may be, either way."""


@dataclass(frozen=True, eq=False)
class ReadOut:
    """A linear classifier on the pooled activation of one layer, its temperature included.

    Attributes:
        tap: name of the layer.
        kind: how to read the activation's axes.
        cells: grid cells per spatial axis.
        weight: (D, C) float32.
        bias: (C,) float32.
        step_size: (C,) float32, positive: every class's weights are whole multiples of it, −127 to 127, and
            stored as such, in int8; None: stored as they are.

    Raises:
        ExportError: a weight that is no such multiple.
    """

    tap: str
    kind: TapKind
    cells: int
    weight: Array
    bias: Array
    step_size: Array | None = None

    def __post_init__(self) -> None:
        if self.step_size is None:
            return
        if self.step_size.shape != self.bias.shape or not (self.step_size > 0).all():
            raise ExportError(f"read-out of {self.tap}: expected one positive step size per class")
        # Negated, so that NaN is refused too.
        within = np.abs(self.weight / self.step_size).max(initial=0) <= MOST_STEPS + 0.5
        if not within or not np.array_equal(self.steps.astype(np.float32) * self.step_size, self.weight):
            raise ExportError(
                f"read-out of {self.tap}: expected weights of −{MOST_STEPS} to {MOST_STEPS} whole steps"
            )

    @property
    def steps(self) -> NDArray[np.int8]:
        """(D, C) int8: the weights in steps.

        Raises:
            ExportError: they are stored as they are.
        """
        if self.step_size is None:
            raise ExportError(f"read-out of {self.tap}: expected weights stored in steps, got float32")
        steps: NDArray[np.int8] = np.rint(self.weight / self.step_size).astype(np.int8)
        return steps

    @property
    def size_bytes(self) -> int:
        """Bytes of the stored weights."""
        if self.step_size is None:
            return int(self.weight.nbytes + self.bias.nbytes)
        return int(self.weight.size + self.bias.nbytes + self.step_size.nbytes)


@dataclass(frozen=True, eq=False)
class Typicality:
    """What benign features look like: whitened, and one centre per class that had benign images.

    The statistic is the distance of an input's features to the nearest centre: absolute, in benign standard
    deviations, without asking what the network says.

    Attributes:
        tap: name of the influence layer, whose pooled activation the features are.
        kind: how to read the activation's axes.
        weight: (D, R) float32: whitens.
        bias: (R,) float32: moves the benign mean to 0.
        centres: (K, R) float32, K ≥ 1.
    """

    tap: str
    kind: TapKind
    weight: Array
    bias: Array
    centres: Array

    def __post_init__(self) -> None:
        if self.centres.ndim != 2 or not len(self.centres) or self.centres.shape[1] != self.weight.shape[1]:
            raise ExportError(
                f"typicality of {self.tap}: expected at least one centre of {self.weight.shape[1]} values, "
                f"got {self.centres.shape}"
            )

    @property
    def size_bytes(self) -> int:
        """Bytes of the stored numbers."""
        return int(self.weight.nbytes + self.bias.nbytes + self.centres.nbytes)


@dataclass(frozen=True, eq=False)
class ClassScale:
    """Benign mean and inverse standard deviation of a statistic, per predicted class.

    Attributes:
        mean: (R, K) float32: R = number of classes, or 1 if all classes share one row.
        inverse_std: (R, K) float32, at least 0; 0: nothing is known of this class, and nothing is said.
    """

    mean: Array
    inverse_std: Array

    @property
    def per_class(self) -> bool:
        """Whether predicted classes have rows of their own."""
        return len(self.mean) > 1


@dataclass(frozen=True, eq=False)
class Curve:
    """A continuous piecewise linear function that never falls.

    f(s) = base + Σ slopeᵢ · min(max(s − knotᵢ, 0), widthᵢ): constant before the first knot, and after the
    last one straight on if its width is infinite.

    Attributes:
        base: value up to the first knot.
        knots: (K,) float32, rising.
        widths: (K,) float32, positive; the last may be infinite.
        slopes: (K,) float32, at least 0.
    """

    base: float
    knots: Array
    widths: Array
    slopes: Array

    def __post_init__(self) -> None:
        if not (self.knots.shape == self.widths.shape == self.slopes.shape) or self.knots.ndim != 1:
            raise ExportError(f"expected one width and slope per knot, got {self.knots.shape} knots")
        if not (
            np.isfinite(self.knots).all() and np.isfinite(self.slopes).all() and math.isfinite(self.base)
        ):
            raise ExportError(
                "expected finite knots and slopes; the calibration data gave infinite statistics"
            )
        if (np.diff(self.knots) <= 0).any() or not (self.widths > 0).all() or (self.slopes < 0).any():
            raise ExportError("expected rising knots, positive widths and slopes of at least 0")


@dataclass(frozen=True, eq=False)
class Bank:
    """Inverse perturbations as they are stored: int8 steps on a grid `factor` times coarser than the input.

    Attributes:
        steps: (rows, *coarse) int8.
        step_size: input units per step.
        factor: every stored value covers factor × factor elements of the last two axes.
        shape: per-sample shape of the input.
    """

    steps: NDArray[np.int8]
    step_size: float
    factor: int
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the stored bank: none, if nothing is added."""
        return int(self.steps.nbytes) if self.adds else 0

    @property
    def adds(self) -> bool:
        """Whether there is a perturbation at all; a bank of zeros is not stored."""
        return bool(self.steps.any())

    def dense(self) -> Array:
        """The perturbations as they are added: (rows, *shape) float32 in input units."""
        values = self.steps.astype(np.float32) * np.float32(self.step_size)
        if self.factor > 1:
            values = values.repeat(self.factor, axis=-2).repeat(self.factor, axis=-1)
            values = values[..., : self.shape[-2], : self.shape[-1]]
        return np.ascontiguousarray(values)


@dataclass(frozen=True, eq=False)
class Gate:
    """Calibrated tests, each a benign −log₁₀ p with the test's weight in it, and the cuts on their sums.

    Two are free, on pass 1: disagreement and typicality. Their sum is the *free score*. By it, and by the
    grain of colour images, the screen picks who takes pass 2. There the response adds two: the largest shift,
    and the change of the answer. Grain counts in no flag.

    Attributes:
        disagreement_scale: standardises the disagreement, K = 1.
        disagreement_tail: of the standardised disagreement.
        typicality_scale: standardises the distance of the features, K = 1.
        typicality_tail: of the standardised distance.
        grain_tail: of the grain; None where inputs have none, or the screen does not mind it.
        response_scale: standardises the shift of every class's margin, K = C.
        response_tail: of the largest standardised shift.
        change_scale: standardises how far class probabilities move between the passes, K = 1.
        change_tail: of the standardised change.
        early_weight: what early evidence counts beside the shifts when a flagged row is answered.
        screen_threshold: rows of which the screen sees more take the second pass; None: all rows.
        flag_threshold: rows with a larger combined score are flagged.
        suspicion: maps the combined score to the share of benign images that score lower.
    """

    disagreement_scale: ClassScale
    disagreement_tail: Curve
    typicality_scale: ClassScale
    typicality_tail: Curve
    response_scale: ClassScale
    response_tail: Curve
    change_scale: ClassScale
    change_tail: Curve
    early_weight: float
    screen_threshold: float | None
    flag_threshold: float
    suspicion: Curve
    grain_tail: Curve | None = None


@dataclass(frozen=True, eq=False)
class DefenceSpec:
    """Everything the defence adds to a backbone.

    Attributes:
        policy: what happens to inputs.
        classes: C, number of logits.
        bounds: lowest and highest input value.
        readouts: the read-outs whose mean log-probabilities are the early evidence; none where no early layer
            knows anything: the network's own doubt, the log-probabilities of its logits, stands in.
        typicality: what benign features look like.
        gate: what is flagged.
        view: how the second pass looks at an input, before the inverse perturbation.
        bank: the inverse perturbations: one row (universal), or one per class for policy ``always``.

    Raises:
        ExportError: no read-out though policy ``always`` answers by them, or another number of bank rows than
            the policy needs.
    """

    policy: Policy
    classes: int
    bounds: tuple[float, float]
    readouts: tuple[ReadOut, ...]
    typicality: Typicality
    gate: Gate
    view: View
    bank: Bank

    def __post_init__(self) -> None:
        rows = self.classes if self.policy is Policy.ALWAYS else 1
        if len(self.bank.steps) != rows:
            raise ExportError(
                f"expected {rows} bank rows for policy {self.policy}, got {len(self.bank.steps)}"
            )
        if self.policy is Policy.ALWAYS and not self.readouts:
            raise ExportError("policy always perturbs for the class of read-outs: expected at least one")
        if self.policy is Policy.ALWAYS and self.view:
            raise ExportError("policy always answers under the inverse perturbation alone: expected no view")
        check_view(self.view, self.bank.shape, self.bounds)

    @property
    def readout_size_bytes(self) -> int:
        """Bytes of read-outs, typicality and class statistics."""
        gate = self.gate
        scales = (gate.disagreement_scale, gate.typicality_scale, gate.response_scale, gate.change_scale)
        return (
            sum(r.size_bytes for r in self.readouts)
            + self.typicality.size_bytes
            + sum(int(s.mean.nbytes + s.inverse_std.nbytes) for s in scales)
        )
