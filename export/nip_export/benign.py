"""Benign images as the user gives them, brought to the model's door and split by purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_export.config import ExportConfig
from nip_export.data import ImageSet, stratified_split, to_model_input
from nip_runtime.errors import InputError


@dataclass(frozen=True, eq=False)
class Benign:
    """Benign images of one purpose.

    Attributes:
        source: as given.
        inputs: (N, *shape) float32 within the bounds.
        labels: (N,) int64.
    """

    source: ImageSet
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> Benign:
        """Some of the images; the source stays whole."""
        return Benign(self.source, self.inputs[rows], self.labels[rows])


def labelled(images: NDArray[Any], labels: NDArray[Any] | Sequence[int], config: ExportConfig) -> ImageSet:
    """Check images and labels.

    Raises:
        InputError: no images, or a wrong type, shape or value.
    """
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "iu":
        raise InputError.mismatch(
            expected="whole numbers as labels", got=f"{numbers.dtype}", fix="pass class numbers from 0"
        )
    array: object = images
    if not isinstance(array, np.ndarray) or len(numbers) == 0:
        raise InputError.mismatch(
            expected="a numpy array of images and their labels",
            got=f"{type(array).__name__} and {len(numbers)} labels",
            fix="pass uint8 (N, H, W), (N, H, W, C) or float32 (N, *shape) in [0, 1]",
        )
    names = tuple(config.class_names) if config.class_names is not None else None
    return ImageSet(images, numbers.astype(np.int64), names, config.bounds)


def at_the_door(source: ImageSet) -> Benign:
    """Images as the model takes them."""
    images = source.images
    gray = images.dtype == np.uint8 and images.ndim == 3
    channels = 1 if gray else images.shape[3 if images.dtype == np.uint8 else 1]
    inputs = to_model_input(images, channels)
    low, high = source.bounds
    if images.dtype == np.uint8 and source.bounds != (0.0, 1.0):
        inputs = (inputs * np.float32(high - low) + np.float32(low)).astype(np.float32)
    return Benign(source, inputs, source.labels)


def prepare(
    images: NDArray[Any],
    labels: NDArray[Any] | Sequence[int],
    calibration: tuple[NDArray[Any], NDArray[Any] | Sequence[int]] | None,
    config: ExportConfig,
) -> tuple[Benign, Benign]:
    """Images for profiles and perturbations, and images held out for calibration.

    Raises:
        InputError: images or labels of the wrong form, or two sets of different shapes.
    """
    given = labelled(images, labels, config)
    if calibration is None:
        kept, held = stratified_split(given.labels, config.calibration_fraction, config.seed)
        profile, held_out = at_the_door(given.take(kept)), at_the_door(given.take(held))
    else:
        profile, held_out = at_the_door(given), at_the_door(labelled(*calibration, config))
    if profile.inputs.shape[1:] != held_out.inputs.shape[1:]:
        raise InputError.mismatch(
            expected=f"calibration images of the same shape {profile.inputs.shape[1:]}",
            got=f"{held_out.inputs.shape[1:]}",
            fix="prepare both sets in the same way",
        )
    shape = profile.inputs.shape[1:]
    if config.sound is not None and (len(shape) != 2 or shape[0] != 1 or shape[1] < config.sound.shortest):
        raise InputError.mismatch(
            expected=f"recordings (N, 1, samples) of at least {config.sound.shortest} samples",
            got=f"inputs {shape}",
            fix="read them with nip_export.data.read_recordings, or leave sound out",
        )
    return profile, held_out
