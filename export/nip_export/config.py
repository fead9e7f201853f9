"""What a user chooses about an export; every field is checked at birth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral, Real
from typing import Final, Literal

from nip_export.defence.views import parse_view
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import PerturbationMethod, Policy, Precision, PreprocessSpec, Resize, SoundSpec

PUBLISHED_SCALE: Final = 0.008
"""Largest scale of the published one-step perturbation: 0.001…0.008 of the value range."""

LEAST_MEMORY: Final = 2**20
"""Less is a slip of the unit."""


class PaddingRow(StrEnum):
    """Whether a row takes the second pass where the screen picks none."""

    AUTO = "auto"
    """Where onnxruntime can't run the network on no rows, or might not."""
    ALWAYS = "always"
    """In every file with a screen: for engines that can't, where onnxruntime can."""


CHOICES: Final[dict[str, type[StrEnum]]] = {
    "policy": Policy,
    "precision": Precision,
    "perturbation": PerturbationMethod,
    "resize": Resize,
    "padding_row": PaddingRow,
}


def _check(condition: bool, field: str, expected: str, got: object) -> None:
    if not condition:
        raise ExportError(f"{field}: expected {expected}, got {got!r}")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of :func:`nip_export.export_defended`.

    Args:
        policy: ``guarded`` (correct what the gate flags), ``always`` (perturb every input) or ``detect``.
        precision: arithmetic of the backbone in the file; the defence itself computes in float32.
        benign_budget: share of correctly classified benign inputs that may be flagged, in (0, 1).
        eps: largest change of an input element by an inverse perturbation, in input units.
        bounds: lowest and highest input value: (0, 1) for pixels; uint8 images are stretched to it.
        taps: "auto", or names of layers as in ``model.named_modules()``; ``name:input`` is what a layer
            reads, ``name#2`` what its second call returns.
        features: name of the layer that counts as the features; None: what the classifier reads.
        classifier: name of the layer that computes the logits; None: found by the way of the gradient.
        output: name or index of the model's output that holds the logits, if it returns several.
        mean: per channel, subtracted from inputs within the bounds; None if the model takes them as they are.
        std: per channel, divides after `mean`.
        class_names: one name per logit, or None.
        resize: how hosts stretch images to the input size; None means that sizes must match.
        preprocess: how hosts resize and crop images instead; uint8 images of another size are given to
            :func:`nip_export.export_defended` as they are, and resized and cropped there.
        sound: how hosts make inputs (1, samples) of recordings; None where inputs are none. Full scale is the
            upper of `bounds`, which lie evenly around 0.
        top_k: k, the number of front and of tail neurons per class.
        cells: grid cells per spatial axis to which early maps are pooled for the read-outs.
        early_readouts: how many read-outs form the second opinion, counted from the earliest that qualifies.
        screen_rate: share of benign inputs that may need the second pass, in (0, 1]; 1: every input takes it.
        padding_row: "auto", or "always": no operator of the file ever sees an empty batch, which engines
            other than onnxruntime may not run; a batch without a suspicious row then costs one more row.
        calibration_fraction: share of the images held out where no calibration set is given, in (0, 1).
        view: how the second pass looks at an input: "auto" (chosen on benign images), or steps out of
            mirror, shift, median, blur, gain, polarity, delay, bits, jpeg50 … jpeg90, joined by "+", with
            "rho" last if the inverse perturbation is added; "rho" alone looks at the input itself. Policy
            ``always`` takes no view.
        perturbation: how inverse perturbations are computed.
        ascent_steps: gradient steps of the ascent.
        batch_size: images per forward or gradient pass, at most; fewer where `memory` is short.
        memory: bytes that the exporting process may hold at its peak, for batches to be fitted to; None:
            3 GiB, or half of what the machine or its cgroup leaves, if that is less.
        seed: seeds the held-out split and the order of the ascent's batches.
        force: write the file even if its gate can hardly ever fire, ``always`` costs more than 10 points, or
            calibration images are among the profile images too.
        self_test: attack some held-back images once the file stands, and report what it makes of them.
        input_name: name of the graph's input.
        output_name: name of the graph's first output.

    Raises:
        ExportError: naming the field and its value.
    """

    policy: Policy | Literal["guarded", "always", "detect"] = Policy.GUARDED
    precision: Precision | Literal["fp32", "fp16", "int8"] = Precision.FP32
    benign_budget: float = 0.02
    eps: float = 8 / 255
    bounds: tuple[float, float] = (0.0, 1.0)
    taps: Literal["auto"] | Sequence[str] = "auto"
    features: str | None = None
    classifier: str | None = None
    output: str | int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    class_names: Sequence[str] | None = None
    resize: Resize | Literal["area", "linear"] | None = None
    preprocess: PreprocessSpec | None = None
    sound: SoundSpec | None = None
    top_k: int = 5
    cells: int = 4
    early_readouts: int = 1
    screen_rate: float = 0.4
    padding_row: PaddingRow | Literal["auto", "always"] = PaddingRow.AUTO
    calibration_fraction: float = 0.4
    view: str = "auto"
    perturbation: PerturbationMethod | Literal["ascent", "one-step"] = PerturbationMethod.ASCENT
    ascent_steps: int = 60
    batch_size: int = 256
    memory: int | None = None
    seed: int = 0
    force: bool = False
    self_test: bool = False
    input_name: str = "input"
    output_name: str = "logits"

    def __post_init__(self) -> None:
        for field, kind in CHOICES.items():
            value = getattr(self, field)
            if value is None and field == "resize":
                continue
            names = [member.value for member in kind]
            _check(value in names, field, " or ".join(names), value)
            object.__setattr__(self, field, kind(value))
        for field in ("benign_budget", "calibration_fraction", "eps", "screen_rate"):
            _check(isinstance(getattr(self, field), Real), field, "a number", getattr(self, field))
        for field in ("benign_budget", "calibration_fraction"):
            value = getattr(self, field)
            _check(0 < value < 1, field, "a number between 0 and 1", value)
        _check(len(self.bounds) == 2, "bounds", "two finite numbers, low below high", self.bounds)
        low, high = self.bounds
        ordered = math.isfinite(low) and math.isfinite(high) and low < high
        _check(ordered, "bounds", "two finite numbers, low below high", self.bounds)
        _check(self.sound is None or low == -high, "bounds", "evenly around 0 for recordings", self.bounds)
        _check(
            0 < self.eps < high - low, "eps", f"above 0, below {high - low:g}, the input's range", self.eps
        )
        _check(0 < self.screen_rate <= 1, "screen_rate", "a share above 0, at most 1", self.screen_rate)
        budget_fits = self.benign_budget <= self.screen_rate
        _check(budget_fits, "benign_budget", f"at most screen_rate = {self.screen_rate}", self.benign_budget)
        for field in ("top_k", "cells", "early_readouts", "ascent_steps", "batch_size", "seed"):
            value, least = getattr(self, field), 0 if field == "seed" else 1
            whole = isinstance(value, Integral) and int(value) >= least
            _check(whole, field, f"a whole number, at least {least}", value)
        memory: object = self.memory
        enough = memory is None or (isinstance(memory, Integral) and int(memory) >= LEAST_MEMORY)
        _check(enough, "memory", f"a number of bytes, at least {LEAST_MEMORY}, or None", self.memory)
        one = self.preprocess is None or (self.resize is None and self.sound is None)
        _check(one, "preprocess", "None where resize or sound is given", self.preprocess)
        _check((self.mean is None) == (self.std is None), "std", "mean and std together or neither", self.std)
        for field in ("mean", "std"):
            values = getattr(self, field)
            _check(values is None or _finite(values), field, "a list of finite numbers", values)
        _check(self.std is None or min(self.std, default=1) > 0, "std", "numbers above 0", self.std)
        for field in ("input_name", "output_name"):
            name = getattr(self, field)
            _check(bool(name) and not name.startswith("nip"), field, "a name not starting with 'nip'", name)
        different = self.input_name != self.output_name
        _check(different, "output_name", "another name than input_name", self.output_name)
        _check(isinstance(self.view, str), "view", "'auto' or steps joined by '+'", self.view)
        if self.view != "auto":
            steps, rho = parse_view(self.view)
            _check(rho or len(steps) > 0, "view", "at least one step, or 'rho'", self.view)
        always = self.policy is Policy.ALWAYS and self.view != "auto"
        _check(not always, "view", "'auto' for policy always, which answers under ρ alone", self.view)
        both = self.features is not None and self.classifier is not None
        _check(not both, "features", "features or classifier, not both", self.features)
        if isinstance(self.taps, str):
            _check(self.taps == "auto", "taps", "'auto' or a list of layer names", self.taps)
        else:
            _check(len(self.taps) > 0, "taps", "'auto' or at least one layer name", self.taps)


def _finite(values: object) -> bool:
    """Whether these are finite numbers in a list or tuple."""
    if not isinstance(values, list | tuple):
        return False
    return all(
        type(value) is not bool and isinstance(value, Real) and math.isfinite(value) for value in values
    )
