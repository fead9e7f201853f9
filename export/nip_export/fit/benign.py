"""Benign images as the user gives them, brought to the model's door and split by purpose."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nip_export.config import ExportConfig
from nip_export.data import ImageSet, stratified_split, to_model_input
from nip_export.data.fitting import fit_for
from nip_export.data.gathering import Given, Labels, gather
from nip_export.data.images import Images, shared
from nip_export.data.inputs import Inputs, LazyInputs, take
from nip_export.data.stored import IN_MEMORY, StoredImages
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Resize

_log = logging.getLogger(__name__)

STRAY_SHARE = 0.01
"""Share of calibration images that may be among the profile images: public data sets hold duplicates."""
DUPLICATES = 0.5
"""Share of the held-out images that may be left out because they are duplicates."""


@dataclass(frozen=True, eq=False)
class Benign:
    """Benign images of one purpose.

    Attributes:
        source: as given.
        feed: (N, *shape) float32 within the bounds, in memory or made batch by batch.
        labels: (N,) int64.
    """

    source: ImageSet
    feed: Inputs
    labels: NDArray[np.int64]

    @property
    def inputs(self) -> NDArray[np.float32]:
        """All inputs in memory, for what is not done batch by batch."""
        return np.asarray(self.feed)

    @property
    def is_labelled(self) -> bool:
        """Whether the labels are given; else they are, or will be, the network's own predictions."""
        return self.source.is_labelled

    def named(self, predicted: NDArray[np.int64]) -> Benign:
        """The same images with the network's predictions as their labels, unless they have labels."""
        if self.is_labelled:
            return self
        return Benign(replace(self.source, labels=predicted), self.feed, predicted)

    def take(self, rows: NDArray[np.bool_]) -> Benign:
        """Some of the images; the source stays whole."""
        return Benign(self.source, take(self.feed, rows), self.labels[rows])


def gathered(images: Given, labels: Labels, config: ExportConfig) -> ImageSet:
    """Check images and labels; without labels, the network's own predictions will stand in.

    Raises:
        InputError: no images, or a wrong type, shape or value.
    """
    fit = fit_for(None, Resize.AREA, config.preprocess)
    array, labels = gather(images, labels, fit)
    is_labelled = labels is not None
    numbers = np.asarray(labels) if is_labelled else np.zeros(len(array), np.int64)
    if numbers.dtype.kind not in "iu":
        raise InputError.mismatch(
            expected="whole numbers as labels", got=f"{numbers.dtype}", fix="pass class numbers from 0"
        )
    if array.ndim == 0 or len(numbers) == 0:
        raise InputError.mismatch(
            expected="a numpy array of images and their labels",
            got=f"shape {array.shape} and {len(numbers)} labels",
            fix="pass uint8 (N, H, W), (N, H, W, C) or float32 (N, *shape) in [0, 1]",
        )
    names = tuple(config.class_names) if config.class_names is not None else None
    return ImageSet(array, numbers.astype(np.int64), names, config.bounds, is_labelled)


def at_the_door(source: ImageSet) -> Benign:
    """Images as the model takes them: at once if they are few, else batch by batch."""
    images = source.kept
    if not isinstance(images, StoredImages) and images.size * 4 <= IN_MEMORY:
        return Benign(source, _converted(images, source.bounds), source.labels)

    def make(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return _converted(images[rows], source.bounds)

    item = tuple(make(np.zeros(1, np.int64)).shape[1:])
    return Benign(source, LazyInputs(make, np.arange(len(images)), item), source.labels)


def _converted(images: Images, bounds: tuple[float, float]) -> NDArray[np.float32]:
    gray = images.dtype == np.uint8 and images.ndim == 3
    channels = 1 if gray else images.shape[3 if images.dtype == np.uint8 else 1]
    inputs = to_model_input(images, channels)
    low, high = bounds
    if images.dtype == np.uint8 and bounds != (0.0, 1.0):
        inputs = (inputs * np.float32(high - low) + np.float32(low)).astype(np.float32)
    return inputs


def prepare(
    images: Given,
    labels: Labels,
    calibration: tuple[Given, Labels] | None,
    config: ExportConfig,
) -> tuple[Benign, Benign]:
    """Images for profiles and perturbations, and images held out for calibration.

    Raises:
        InputError: images or labels of the wrong form, or two sets of different shapes.
    """
    given = gathered(images, labels, config)
    if calibration is None:
        kept, held = stratified_split(given.labels, config.calibration_fraction, config.seed)
        first, second = given.take(kept), given.take(held)
    else:
        first, second = given, gathered(*calibration, config)
    profile, held_out = at_the_door(first), at_the_door(second)
    if profile.feed.shape[1:] != held_out.feed.shape[1:]:
        raise InputError.mismatch(
            expected=f"calibration images of the same shape {profile.feed.shape[1:]}",
            got=f"{held_out.feed.shape[1:]}",
            fix="prepare both sets in the same way",
        )
    shape = profile.feed.shape[1:]
    crop = None if config.preprocess is None else config.preprocess.crop
    if crop is not None and (len(shape) != 3 or shape[1:] != crop):
        raise InputError.mismatch(
            expected=f"images of {crop[0]}x{crop[1]} pixels, the crop, or uint8 images to take it from",
            got=f"inputs {shape}",
            fix="pass uint8 images, or resize and crop them before",
        )
    if config.sound is not None and (len(shape) != 2 or shape[0] != 1 or shape[1] < config.sound.shortest):
        raise InputError.mismatch(
            expected=f"recordings (N, 1, samples) of at least {config.sound.shortest} samples",
            got=f"inputs {shape}",
            fix="read them with nip_export.data.read_recordings, or leave sound out",
        )
    if profile.is_labelled != held_out.is_labelled:
        raise InputError.mismatch(
            expected="labels for both sets of images, or for neither",
            got=f"{'' if profile.is_labelled else 'un'}labelled images and "
            f"{'' if held_out.is_labelled else 'un'}labelled ones for calibration",
            fix="label both, or leave the labels of both out",
        )
    others = apart(first, second, is_split=calibration is None, force=config.force)
    return profile, held_out if others is second else at_the_door(others)


def apart(profile: ImageSet, held_out: ImageSet, *, is_split: bool, force: bool) -> ImageSet:
    """Calibration images that are not among the profile images too, but for a stray one.

    What is flagged of images that the statistics were fitted to says nothing of others. Where both are parts
    of one set, which then holds duplicates, these are left out.

    Args:
        profile: images for profiles and perturbations.
        held_out: images for calibration.
        is_split: whether both are parts of one set.
        force: take them all nevertheless.

    Raises:
        InputError: more than a hundredth of the calibration images that were given apart are among the
            others, or more than half of those that were held out.
    """
    twice = shared(profile.kept, held_out.kept)
    found, count = int(twice.sum()), len(twice)
    if force or not found:
        return held_out
    if found > (DUPLICATES if is_split else STRAY_SHARE) * count:
        raise InputError.mismatch(
            expected="calibration images that are not among the profile images",
            got=f"{found} of {count} that are" + (", for the images hold duplicates" if is_split else ""),
            fix=("leave out the duplicates" if is_split else "give others, or none: a share is then held out")
            + "; force takes them, and the benign costs that the file states are then too low",
        )
    if not is_split:
        _log.warning("%d of %d calibration images are among the profile images too", found, count)
        return held_out
    _log.warning("left out %d of %d images held out: the others hold the same ones", found, count)
    return held_out.take(np.flatnonzero(~twice))
