"""The words of a manifest that are chosen from a list."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


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


class Interpolation(StrEnum):
    """How a host brings an image to the size of which it then takes the middle."""

    BILINEAR = "bilinear"
    """Pillow's, which smooths where it shrinks; torchvision uses it on images."""
    BICUBIC = "bicubic"
    """Likewise."""
    AREA = "area"
    """OpenCV's ``INTER_AREA``: the mean of what a pixel covers."""


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


class Labels(StrEnum):
    """Where the classes of the benign images came from."""

    GIVEN = "given"
    """From the user."""
    PREDICTED = "predicted"
    """The network's own predictions stood in: its mistakes count as right."""


_JPEG: Final = "jpeg"


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
    JPEG_50 = "jpeg50"
    """Through JPEG of quality 50 and back; the others likewise."""
    JPEG_60 = "jpeg60"
    JPEG_70 = "jpeg70"
    JPEG_75 = "jpeg75"
    JPEG_80 = "jpeg80"
    JPEG_85 = "jpeg85"
    JPEG_90 = "jpeg90"

    @property
    def quality(self) -> int | None:
        """Of a round trip through JPEG; None for any other step."""
        return int(self.value[len(_JPEG) :]) if self.value.startswith(_JPEG) else None
