"""What goes into a file and what comes out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nip_runtime.file.manifest.checks import require, require_finite
from nip_runtime.file.manifest.choices import Interpolation, Layout, Resampling, Resize, SoundCut


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
        require(self.rate >= 1, "rate", "at least 1", self.rate)
        require(self.shortest >= 1, "shortest", "at least 1", self.shortest)


@dataclass(frozen=True, kw_only=True)
class PreprocessSpec:
    """How a host makes inputs of images without distorting them: resized, then the middle cut out.

    An image that has the size of `crop` already counts as prepared and stays as it is.

    Args:
        resize: pixels to which the shorter side is brought; the longer one in proportion, rounded down.
        crop: height and width of the middle that is the input.
        interpolation: how an image is resized.
    """

    resize: int
    crop: tuple[int, int]
    interpolation: Interpolation

    def __post_init__(self) -> None:
        require(min(self.crop) >= 1, "crop", "positive sizes", self.crop)
        require(self.resize >= max(self.crop), "resize", f"at least {max(self.crop)}, the crop", self.resize)


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
        preprocess: how a host resizes and crops images; None where `resize` says it all.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout
    bounds: tuple[float, float]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    resize: Resize | None
    sound: SoundSpec | None = None
    preprocess: PreprocessSpec | None = None

    def __post_init__(self) -> None:
        require(self.name != "", "name", "a graph input", self.name)
        require(len(self.shape) > 0 and min(self.shape) > 0, "shape", "positive sizes", self.shape)
        if self.layout is Layout.NCHW:
            require(len(self.shape) == 3, "shape", "(C, H, W) for layout NCHW", self.shape)
        require_finite("bounds", self.bounds)
        require(self.bounds[0] < self.bounds[1], "bounds", "low below high", self.bounds)
        together = (self.mean is None) == (self.std is None)
        require(together, "std", "mean and std together or neither", self.std)
        for field, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                channels = self.shape[0]
                require(len(values) == channels, field, f"{channels} values, one per channel", values)
                require_finite(field, values)
        if self.std is not None:
            require(min(self.std) > 0, "std", "positive values", self.std)
        if self.preprocess is not None:
            crop = self.preprocess.crop
            fits = self.layout is Layout.NCHW and self.shape[1:] == crop
            require(fits, "preprocess", f"None unless images are {crop[0]}x{crop[1]}", self.shape)
            require(self.resize is None, "preprocess", "None where resize is not", self.resize)
        if self.sound is not None:
            one = len(self.shape) == 2 and self.shape[0] == 1
            require(one, "sound", "None unless the shape is (1, samples)", self.shape)
            low, high = self.bounds
            require(low == -high, "sound", "None unless bounds lie evenly around 0", self.bounds)
            shortest = self.sound.shortest
            require(shortest <= self.shape[1], "sound", f"shortest of at most {self.shape[1]}", shortest)

    def said(self, sentence: str) -> str:
        """A sentence about images, said of what this model takes: recordings, or inputs of another kind."""
        if self.layout is Layout.NCHW:
            return sentence
        word = "input" if self.sound is None else "recording"
        return re.sub(r"\bimage(s?)\b", rf"{word}\1", sentence)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """The model's own output: (N, ``classes``) float32 logits, class names in the order of their columns."""

    name: str
    classes: int
    class_names: tuple[str, ...] | None

    def __post_init__(self) -> None:
        require(self.name != "", "name", "a graph output", self.name)
        require(self.classes >= 2, "classes", "at least 2", self.classes)
        if self.class_names is not None:
            count = len(self.class_names)
            require(count == self.classes, "class_names", f"{self.classes} names, one per class", count)
