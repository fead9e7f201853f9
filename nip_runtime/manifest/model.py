"""The manifest as frozen dataclasses that refuse bad values at birth, naming field and value.

``schema-1.json`` beside this module states the same for other languages; a test keeps the two in step.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any, Final

from nip_runtime.manifest.checks import require as _require
from nip_runtime.manifest.honesty import CoverageInfo, VerdictInfo
from nip_runtime.rates import Rate

SCHEMA_VERSION: Final = "1.4"
"""Version this package writes. A reader refuses another major and ignores what a newer minor adds.

1.1 added ``precision``, ``conversion`` and ``settings``; 1.2 ``flag_rate_all``; 1.3 ``gate``; 1.4
``coverage``, ``verdict``, ``second_pass`` and ``input.sound``."""

_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_UTC_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", re.ASCII)


class Policy(StrEnum):
    """What the file does with inputs."""

    GUARDED = "guarded"
    """The gate decides which rows are corrected; the others keep the raw logits bit for bit."""
    ALWAYS = "always"
    """Every input gets the inverse perturbation of its hypothesis class."""
    DETECT = "detect"
    """Logits stay raw; suspicion and flag tell what the gate thinks."""


class Layout(StrEnum):
    """Meaning of the input's axes after the batch axis."""

    NCHW = "NCHW"
    ANY = "any"


class Resize(StrEnum):
    """Interpolation with which a host brings images to the input size."""

    AREA = "area"
    LINEAR = "linear"


class SoundCut(StrEnum):
    """Which piece of a recording longer than the input a host takes."""

    START = "start"
    MIDDLE = "middle"


class Resampling(StrEnum):
    """How a host brings a recording to the input's rate."""

    POLYPHASE = "polyphase"
    """A Kaiser-windowed sinc (β = 5), ten zero crossings of the lower rate on either side, zeros outside the
    recording: what ``scipy.signal.resample_poly`` does by default."""


class BankStorage(StrEnum):
    """How the bank of inverse perturbations is stored."""

    INT8 = "int8"


class Precision(StrEnum):
    """Arithmetic of the backbone; gate, read-outs, perturbation and clip are float32 in every file."""

    FP32 = "fp32"
    FP16 = "fp16"
    """float16 weights and activations behind the normalisation."""
    INT8 = "int8"
    """int8 weights with a scale per channel and uint8 activations, as QuantizeLinear/DequantizeLinear."""


class PerturbationMethod(StrEnum):
    """How inverse perturbations are computed."""

    ASCENT = "ascent"
    """Signed gradient ascent with momentum over benign batches, within ε and the value bounds."""
    ONE_STEP = "one-step"
    """The published form: the mean input gradient divided by its root mean square, scaled, cut at ε."""


class ViewStep(StrEnum):
    """A step of the view under which the second pass looks at an input."""

    MIRROR = "mirror"
    """The last axis turned round."""
    SHIFT = "shift"
    """Moved by one entry along every spatial axis, the first entry repeated behind it."""
    MEDIAN = "median"
    """The median of 3×3 pixels, the edge repeated outside."""
    BLUR = "blur"
    """Neighbours weighed 1:2:1 along every spatial axis, the edge repeated outside."""
    GAIN = "gain"
    """Multiplied by 0.9."""
    POLARITY = "polarity"
    """Multiplied by −1."""
    DELAY = "delay"
    """Moved by a sixteenth of the last axis, the first entry repeated before it."""
    BITS = "bits"
    """Rounded to the nearest of four values, evenly spaced between the bounds."""


def _require_finite(field: str, values: Sequence[float]) -> None:
    _require(all(math.isfinite(value) for value in values), field, "finite numbers", values)


@dataclass(frozen=True, kw_only=True)
class SoundSpec:
    """How a host makes inputs of recordings: one channel, the mean of all, at `rate`.

    What is longer than the input is cut, what is shorter gets silence behind it. Full scale is the upper
    bound, and what lies beyond it is clipped.

    Args:
        rate: samples per second.
        resample: how other rates are brought to it.
        cut: which piece of a longer recording is taken.
        shortest: samples at `rate`, below which a recording is refused.
    """

    rate: int
    resample: Resampling
    cut: SoundCut
    shortest: int

    def __post_init__(self) -> None:
        _require(self.rate >= 1, "rate", "at least 1", self.rate)
        _require(self.shortest >= 1, "shortest", "at least 1", self.shortest)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The model's input.

    Args:
        name: graph input.
        shape: without the batch axis; (C, H, W) for layout NCHW.
        layout: NCHW for images, ``any`` for everything else (audio, spectra).
        bounds: lowest and highest value an input element may have.
        mean: per-channel mean that the graph subtracts, in input units; None if it does not normalise.
        std: per-channel divisor, likewise.
        resize: how a host resizes images; None means that sizes must match.
        sound: how a host makes inputs (1, samples) of recordings; None where they are none.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout
    bounds: tuple[float, float]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    resize: Resize | None
    sound: SoundSpec | None = None

    def __post_init__(self) -> None:
        _require(self.name != "", "name", "a graph input", self.name)
        _require(len(self.shape) > 0 and min(self.shape) > 0, "shape", "positive sizes", self.shape)
        if self.layout is Layout.NCHW:
            _require(len(self.shape) == 3, "shape", "(C, H, W) for layout NCHW", self.shape)
        _require_finite("bounds", self.bounds)
        _require(self.bounds[0] < self.bounds[1], "bounds", "low below high", self.bounds)
        together = (self.mean is None) == (self.std is None)
        _require(together, "std", "mean and std together or neither", self.std)
        for field, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                channels = self.shape[0]
                _require(len(values) == channels, field, f"{channels} values, one per channel", values)
                _require_finite(field, values)
        if self.std is not None:
            _require(min(self.std) > 0, "std", "positive values", self.std)
        if self.sound is not None:
            one = len(self.shape) == 2 and self.shape[0] == 1
            _require(one, "sound", "None unless the shape is (1, samples)", self.shape)
            low, high = self.bounds
            _require(low == -high, "sound", "None unless bounds lie evenly around 0", self.bounds)
            shortest = self.sound.shortest
            _require(shortest <= self.shape[1], "sound", f"shortest of at most {self.shape[1]}", shortest)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """The model's own output: (N, ``classes``) float32 logits, class names in the order of their columns."""

    name: str
    classes: int
    class_names: tuple[str, ...] | None

    def __post_init__(self) -> None:
        _require(self.name != "", "name", "a graph output", self.name)
        _require(self.classes >= 2, "classes", "at least 2", self.classes)
        if self.class_names is not None:
            count = len(self.class_names)
            _require(count == self.classes, "class_names", f"{self.classes} names, one per class", count)


@dataclass(frozen=True, kw_only=True)
class TapInfo:
    """A tapped layer: its channels, and the cells per channel that its map is pooled to (1 or 2×2 = 4)."""

    name: str
    channels: int
    cells: int

    def __post_init__(self) -> None:
        _require(self.name != "", "name", "a layer", self.name)
        _require(self.channels >= 1, "channels", "at least 1", self.channels)
        _require(self.cells >= 1, "cells", "at least 1", self.cells)


@dataclass(frozen=True, kw_only=True)
class BankInfo:
    """The stored inverse perturbations: ``rows`` of ``shape`` values, ``size_bytes`` in all."""

    rows: int
    shape: tuple[int, ...]
    storage: BankStorage
    size_bytes: int

    def __post_init__(self) -> None:
        _require(self.rows >= 1, "rows", "at least 1", self.rows)
        _require(len(self.shape) > 0 and min(self.shape) > 0, "shape", "positive sizes", self.shape)
        _require(self.size_bytes >= 0, "size_bytes", "0 or more", self.size_bytes)


@dataclass(frozen=True, kw_only=True)
class DefenceInfo:
    """What the defence is made of.

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
        _require(len(self.taps) > 0, "taps", "at least one tapped layer", self.taps)
        _require(self.influence_layer != "", "influence_layer", "a layer", self.influence_layer)
        _require(self.top_k >= 1, "top_k", "at least 1", self.top_k)
        _require(0 < self.eps_pixel < math.inf, "eps_pixel", "a positive size", self.eps_pixel)
        _require(self.readout_size_bytes >= 0, "readout_size_bytes", "0 or more", self.readout_size_bytes)
        if self.screen_threshold is not None:
            _require_finite("screen_threshold", [self.screen_threshold])
        _require_finite("flag_threshold", [self.flag_threshold])


@dataclass(frozen=True, kw_only=True)
class CalibrationInfo:
    """What held-out benign images measured.

    ``benign_budget`` is the share of correctly classified benign images that may be flagged; ``flag_rate``
    the share that was; ``pass2_rate`` the share that needed the second pass.
    """

    benign_budget: float
    images: int
    flag_rate: Rate
    pass2_rate: Rate
    accuracy_raw: Rate
    accuracy_defended: Rate

    def __post_init__(self) -> None:
        _require(0 < self.benign_budget < 1, "benign_budget", "a share between 0 and 1", self.benign_budget)
        _require(self.images >= 1, "images", "at least 1", self.images)


@dataclass(frozen=True, kw_only=True)
class ConversionInfo:
    """What converting the backbone from float32 changed, over all calibration images.

    ``same_label`` is the share of images to which both backbones give the same class, ``accuracy_fp32`` the
    float32 backbone's accuracy (the converted one's is ``calibration.accuracy_raw``), and
    ``max_abs_logit_difference`` the largest change of any of its logits.
    """

    same_label: Rate
    max_abs_logit_difference: float
    accuracy_fp32: Rate

    def __post_init__(self) -> None:
        change = self.max_abs_logit_difference
        _require(0 <= change < math.inf, "max_abs_logit_difference", "0 or more", change)


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
        _require(0 < self.screen_rate <= 1, "screen_rate", "a share above 0, at most 1", self.screen_rate)
        _require(self.ascent_steps >= 1, "ascent_steps", "at least 1", self.ascent_steps)


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
        _require(len(set(self.view)) == len(self.view), "view", "every step at most once", self.view)
        _require(0 <= self.told <= 1, "told", "a probability", self.told)
        _require(0 <= self.strength < math.inf, "strength", "0 or more", self.strength)


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
        _require(len(set(self.view)) == len(self.view), "view", "every step at most once", self.view)
        _require(self.rho or len(self.view) > 0, "rho", "true where the view has no step", self.rho)
        _require(self.typicality_layer != "", "typicality_layer", "a layer", self.typicality_layer)
        _require(self.centres >= 1, "centres", "at least 1", self.centres)
        _require(self.directions >= 1, "directions", "at least 1", self.directions)
        _require(0 <= self.early_weight < math.inf, "early_weight", "0 or more", self.early_weight)


@dataclass(frozen=True, kw_only=True)
class VerificationInfo:
    """How the finished file compared with its references, over ``images`` run at each size of ``batches``.

    The references are an oracle in numpy and, for fp32, a twin in PyTorch. ``max_abs_logit_error`` is in
    logits, ``argmax_agreement`` a share in [0, 1].
    """

    images: int
    batches: tuple[int, ...]
    max_abs_logit_error: float
    argmax_agreement: float

    def __post_init__(self) -> None:
        _require(self.images >= 1, "images", "at least 1", self.images)
        _require(len(self.batches) > 0 and min(self.batches) > 0, "batches", "positive sizes", self.batches)
        error = self.max_abs_logit_error
        _require(0 <= error < math.inf, "max_abs_logit_error", "0 or more", error)
        _require(0 <= self.argmax_agreement <= 1, "argmax_agreement", "a share", self.argmax_agreement)


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
        _require(self.compared >= 0, "compared", "0 or more", self.compared)


@dataclass(frozen=True, kw_only=True)
class Digests:
    """SHA-256 digests, each "sha256:" and 64 hex digits. ``graph`` covers the file's GraphProto bytes."""

    graph: str
    weights: str
    profile_data: str
    calibration_data: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            _require(_DIGEST.fullmatch(value) is not None, field.name, "sha256: and 64 hex digits", value)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """When and with what the file was made. ``created`` is ISO 8601 in UTC."""

    created: str
    tool: str
    torch: str
    onnx_ir: str
    onnxruntime: str
    opset: int
    seed: int

    def __post_init__(self) -> None:
        _require(_UTC_TIME.fullmatch(self.created) is not None, "created", "ISO 8601 in UTC", self.created)
        _require(self.opset >= 1, "opset", "at least 1", self.opset)
        _require(self.seed >= 0, "seed", "0 or more", self.seed)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a defended file says about itself. Read one with :func:`read_manifest`.

    ``conversion`` is None for fp32, ``settings``, ``flag_rate_all``, ``gate``, ``coverage``, ``verdict`` and
    ``second_pass`` where the file is older than them: see `ADDED`. ``flag_rate_all`` is the share of all
    benign images, misclassified ones too, that were flagged: the rate to expect of traffic, which has no
    labels.
    """

    schema_version: str = SCHEMA_VERSION
    input: InputSpec
    output: OutputSpec
    policy: Policy
    precision: Precision = Precision.FP32
    conversion: ConversionInfo | None = None
    settings: SettingsInfo | None = None
    defence: DefenceInfo
    calibration: CalibrationInfo
    flag_rate_all: Rate | None = None
    gate: GateInfo | None = None
    coverage: CoverageInfo | None = None
    verdict: VerdictInfo | None = None
    verification: VerificationInfo
    second_pass: SecondPassInfo | None = None
    digests: Digests
    provenance: Provenance
    known_limits: tuple[str, ...]

    def __post_init__(self) -> None:
        major = SCHEMA_VERSION.partition(".")[0]
        fits = _VERSION.fullmatch(self.schema_version) and self.schema_version.partition(".")[0] == major
        _require(bool(fits), "schema_version", f"{major}.x", self.schema_version)
        converted = self.precision is not Precision.FP32
        what = f"{'a' if converted else 'no'} comparison with fp32 for precision {self.precision}"
        _require((self.conversion is not None) is converted, "conversion", what, self.conversion)

    def to_json(self) -> str:
        """One line of JSON that :func:`read_manifest` turns back into an equal manifest."""
        return json.dumps(plain(self), ensure_ascii=False, allow_nan=False)


ADDED: Final = {
    1: frozenset({"precision", "conversion", "settings"}),
    2: frozenset({"flag_rate_all"}),
    3: frozenset({"gate"}),
    4: frozenset({"coverage", "verdict", "second_pass", "input.sound"}),
}
"""Fields of :class:`Manifest`, or of parts of it, by the minor version that added them; older files lack
them."""


def plain(value: object) -> Any:
    """Turn a manifest or any part of it into the objects that :mod:`json` writes."""
    if isinstance(value, Rate):
        low, high = value.interval
        return {"count": value.count, "n": value.n, "value": value.value, "low": low, "high": high}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value
