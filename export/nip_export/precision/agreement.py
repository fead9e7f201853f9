"""What a conversion changed on benign images: measured, kept, and refused where it breaks the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import ConversionInfo, Precision
from nip_runtime.file.rates import Rate

LARGEST_LOSS = 0.02
"""Benign accuracy, as a share, that a conversion may cost on the calibration images: as much as the default
benign budget. Sound conversions of the networks we looked at cost less than a quarter of that."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A converted backbone beside its float32 original, on the same benign images.

    Attributes:
        same_label: images to which both give the same class.
        max_abs_logit_difference: largest change of a logit; not finite if the converted backbone overflows.
        accuracy_fp32: images that the original labels rightly.
        accuracy: images that the converted one labels rightly.
    """

    same_label: Rate
    max_abs_logit_difference: float
    accuracy_fp32: Rate
    accuracy: Rate

    @property
    def loss(self) -> float:
        """Accuracy given up, a share; negative if some was won."""
        return (self.accuracy_fp32.count - self.accuracy.count) / self.accuracy.n

    def info(self) -> ConversionInfo:
        """For the manifest."""
        return ConversionInfo(
            same_label=self.same_label,
            max_abs_logit_difference=self.max_abs_logit_difference,
            accuracy_fp32=self.accuracy_fp32,
        )


def measure_agreement(
    fp32: NDArray[np.float32], converted: NDArray[np.float32], labels: NDArray[np.int64]
) -> Agreement:
    """Compare logits (N, C), N ≥ 1, of both backbones for images of known classes (N,)."""
    ours, theirs, count = converted.argmax(1), fp32.argmax(1), len(labels)
    return Agreement(
        same_label=Rate(int((ours == theirs).sum()), count),
        max_abs_logit_difference=float(np.abs(converted.astype(np.float64) - fp32).max()),
        accuracy_fp32=Rate(int((theirs == labels).sum()), count),
        accuracy=Rate(int((ours == labels).sum()), count),
    )


def check_agreement(agreement: Agreement, precision: Precision, *, is_labelled: bool = True) -> None:
    """Refuse a conversion that breaks the model.

    Args:
        agreement: what it changed.
        precision: what it converts to.
        is_labelled: False: the labels are the network's own predictions, and accuracy is agreement with them.

    Raises:
        ExportError: logits that are not finite, or more than 2 points of benign accuracy lost.
    """
    if not np.isfinite(agreement.max_abs_logit_difference):
        raise ExportError(
            f"precision: the model converted to {precision} answers calibration images with logits that are "
            "not finite; its activations exceed what that arithmetic holds. Export it as fp32"
        )
    if agreement.loss > LARGEST_LOSS:
        what = "accuracy" if is_labelled else "agreement with the network"
        raise ExportError(
            f"precision: converting to {precision} costs {100 * agreement.loss:.1f} points of {what} on "
            f"the calibration images ({agreement.accuracy_fp32} in fp32, {agreement.accuracy} after), "
            f"expected at most {100 * LARGEST_LOSS:g}; export it as fp32, or give profile images that "
            "cover what the model sees in use"
        )
