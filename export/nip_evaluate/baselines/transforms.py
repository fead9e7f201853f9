"""Input transformations in front of the undefended network, by ART's preprocessors.

JPEG compression: Dziugaite et al. 2016 and Das et al. 2017; median smoothing and bit depth ("feature
squeezing"): Xu et al., NDSS 2018. Each answers with what the network says of the transformed image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from art.defences.preprocessor import FeatureSqueezing, JpegCompression, SpatialSmoothing
from scipy.ndimage import median_filter  # type: ignore[import-untyped]

from nip_evaluate.baselines.network import remembering
from nip_evaluate.terms.answers import Answers, Defence
from nip_evaluate.terms.results import NotMeasured
from nip_evaluate.terms.threats import Images, Labels

JPEG_QUALITIES = (90, 75, 50, 25)
MEDIAN_WINDOWS = (2, 3)
BIT_DEPTHS = (5, 4, 3, 2, 1)
SPATIAL_RANKS = (3, 4)
"""Axes per image that ART's spatial preprocessors know: (C, H, W) and (C, frames, H, W)."""
SEQUENCE_WINDOWS = (3, 5)
"""Of the median along a sequence (C, T)."""
BOUNDS = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Transformation:
    """One setting of one transformation.

    Attributes:
        family: what it is, without its setting.
        name: as tables print it.
        description: library and settings.
        spatial: whether it needs rows and columns.
        apply: maps images (N, *shape) in [0, 1] to images of the same shape, row by row.
    """

    family: str
    name: str
    description: str
    spatial: bool
    apply: Callable[[Images], Images]


def jpeg(quality: int) -> Transformation:
    """JPEG compression and decompression."""
    library = JpegCompression(clip_values=(0, 255), quality=quality, channels_first=True)

    def apply(images: Images) -> Images:
        # In grey levels already: given [0, 1], ART cuts the fraction off instead of rounding, which darkens.
        levels = np.rint(images * np.float32(255))
        compressed: Images = (library(levels)[0] / np.float32(255)).astype(np.float32)
        return compressed

    return Transformation(
        family="JPEG compression",
        name=f"JPEG quality {quality}",
        description=f"ART JpegCompression, quality {quality}; RGB with chroma subsampling, other numbers of "
        "channels each on its own",
        spatial=True,
        apply=apply,
    )


def median(window: int) -> Transformation:
    """Median of a square window, each channel on its own."""
    library = SpatialSmoothing(window_size=window, channels_first=True, clip_values=BOUNDS)

    def apply(images: Images) -> Images:
        smoothed: Images = library(images)[0].astype(np.float32)
        return smoothed

    return Transformation(
        family="Median smoothing",
        name=f"median {window}×{window}",
        description=f"ART SpatialSmoothing, window {window}",
        spatial=True,
        apply=apply,
    )


def sequence_median(window: int) -> Transformation:
    """Median of neighbours along a sequence, the edge repeated."""

    def apply(images: Images) -> Images:
        smoothed: Images = median_filter(images, size=(1, 1, window), mode="nearest")
        return smoothed

    return Transformation(
        family="Median smoothing",
        name=f"median {window}",
        description=f"scipy median_filter, window {window} along the sequence",
        spatial=False,
        apply=apply,
    )


def bit_depth(bits: int) -> Transformation:
    """Rounding to 2^bits levels; 8 bits are what any stored image has."""
    library = FeatureSqueezing(clip_values=BOUNDS, bit_depth=bits)

    def apply(images: Images) -> Images:
        rounded: Images = library(images)[0].astype(np.float32)
        return rounded

    return Transformation(
        family="Bit depth",
        name="8-bit rounding" if bits == 8 else f"bit depth {bits}",
        description=f"ART FeatureSqueezing, bit depth {bits}",
        spatial=False,
        apply=apply,
    )


def transformations() -> tuple[Transformation, ...]:
    """All that are compared, the mildest of each family first."""
    return (
        *(jpeg(quality) for quality in JPEG_QUALITIES),
        *(median(window) for window in MEDIAN_WINDOWS),
        *(bit_depth(bits) for bits in (8, *BIT_DEPTHS)),
    )


def sequence_transformations() -> tuple[Transformation, ...]:
    """Those for sequences (C, T) alone."""
    return tuple(sequence_median(window) for window in SEQUENCE_WINDOWS)


def _in_unit(transformation: Transformation, bounds: tuple[float, float]) -> Transformation:
    """A transformation of [0, 1] for inputs within other bounds."""
    if bounds == BOUNDS:
        return transformation
    low, span = np.float32(bounds[0]), np.float32(bounds[1] - bounds[0])

    def apply(images: Images) -> Images:
        changed: Images = transformation.apply((images - low) / span) * span + low
        return changed

    return replace(transformation, apply=apply)


def transform_defence(
    transformation: Transformation, network: Callable[[Images], Labels], raw: Callable[[Images], Labels]
) -> Defence:
    """The network behind a transformation; `raw` gives the labels of untransformed images."""

    def answer(images: Images) -> Answers:
        return Answers(network(transformation.apply(images)), raw(images), flagged=None, suspicion=None)

    return Defence(name=transformation.name, description=transformation.description, passes=1, answer=answer)


def transform_defences(
    network_labels: Callable[[Images], Labels],
    shape: Sequence[int],
    bounds: tuple[float, float] = BOUNDS,
) -> tuple[tuple[Defence, ...], tuple[NotMeasured, ...]]:
    """Every transformation that fits the input, in front of the network.

    Args:
        network_labels: maps images (N, *shape) float32 within the bounds to labels (N,) of the undefended
            network.
        shape: of one image.
        bounds: lowest and highest value of the images.

    Returns:
        The defences, and the families left out with the reason.
    """
    raw = remembering(network_labels)
    defences: list[Defence] = []
    left_out: dict[str, NotMeasured] = {}
    fitting: set[str] = set()
    offered = transformations()
    if len(shape) == 2:
        offered = (*offered, *sequence_transformations())
    for transformation in offered:
        if transformation.spatial and len(shape) not in SPATIAL_RANKS:
            why = f"needs images (C, H, W) or videos (C, frames, H, W); inputs are {tuple(shape)}"
            left_out[transformation.family] = NotMeasured(transformation.family, why)
        else:
            defences.append(transform_defence(_in_unit(transformation, bounds), network_labels, raw))
            fitting.add(transformation.family)
    return tuple(defences), tuple(missing for family, missing in left_out.items() if family not in fitting)
