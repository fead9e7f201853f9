"""Feature squeezing's joint detector: an image whose squeezed versions get another softmax is an attack.

Source: Xu, Evans and Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS
2018. Ours, after the paper:

- Squeezers are those of its best joint detector for colour images: bit depth, median smoothing of a 2×2
  window, and non-local means (OpenCV, search window 11, patch 3, strength 4: the paper's "11-3-4"). Bits
  are 5 in colour, as in the paper, and 4 with one channel: its single bit for digits would erase clothes.
- The score is the *largest* L1 distance between the softmax of the image and that of a squeezed version.
- One threshold, cut on benign images exactly as the defence's own gate is; the paper cuts at 5 % of benign.
- The paper rejects what it flags. Here a flagged image is answered with the label of the version whose
  softmax lies farthest from the image's, the one that gave the score.

Non-local means works on 8 bits: its input is rounded to whole grey levels. It takes 1 and 3 channels; images
with another number have each channel smoothed by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from nip_evaluate.baselines.held_out import Detector, HeldOut, every_row, fixed
from nip_evaluate.baselines.network import Forward
from nip_evaluate.baselines.transforms import bit_depth, median
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import Images, Labels
from nip_export.defence import statistics
from nip_runtime.errors import ExportError

JOINT = "feature squeezing, joint"
SEARCH, PATCH, STRENGTH = 11, 3, 4
COLOUR_BITS, GREY_BITS = 5, 4

Squeeze = Callable[[Images], Images]


def non_local_means(images: Images) -> Images:
    """Smooth images (N, C, H, W) in [0, 1], each by itself."""
    levels = np.rint(images * 255).clip(0, 255).astype(np.uint8)
    smoothed = np.stack([_smooth(image) for image in levels])
    found: Images = (smoothed / np.float32(255)).astype(np.float32)
    return found


def _smooth(image: np.typing.NDArray[np.uint8]) -> np.typing.NDArray[np.uint8]:
    if len(image) == 3:
        colour = cv2.fastNlMeansDenoisingColored(
            np.ascontiguousarray(image.transpose(1, 2, 0)),
            h=STRENGTH,
            hColor=STRENGTH,
            templateWindowSize=PATCH,
            searchWindowSize=SEARCH,
        )
        return np.ascontiguousarray(colour.transpose(2, 0, 1), np.uint8)
    grey = [
        cv2.fastNlMeansDenoising(
            np.ascontiguousarray(channel), h=STRENGTH, templateWindowSize=PATCH, searchWindowSize=SEARCH
        )
        for channel in image
    ]
    return np.stack(grey).astype(np.uint8)


def squeezers(channels: int) -> tuple[Squeeze, ...]:
    """Those of the joint detector, for images of so many channels."""
    bits = COLOUR_BITS if channels == 3 else GREY_BITS
    return (bit_depth(bits).apply, median(2).apply, non_local_means)


def squeezed_view(forward: Forward, images: Images) -> GateView:
    """The largest L1 distance to the softmax of a squeezed version of images (N, C, H, W), and its label.

    Raises:
        ExportError: the inputs are no images.
    """
    if images.ndim != 4:
        raise ExportError(
            f"expected images (C, H, W) to squeeze, got inputs of shape {images.shape[1:]}; leave feature "
            "squeezing out"
        )
    raw = forward(images)
    before = np.exp(statistics.log_softmax(raw))
    squeezed = [forward(squeeze(images)) for squeeze in squeezers(images.shape[1])]
    apart = np.stack([np.abs(np.exp(statistics.log_softmax(s)) - before).sum(1) for s in squeezed])
    farthest = apart.argmax(0)
    labels = np.stack([s.argmax(1) for s in squeezed])[farthest, np.arange(len(images))]
    return every_row(apart.max(0), raw.argmax(1).astype(np.int64), labels.astype(np.int64))


def fit_squeezing(forward: Forward, images: Images, labels: Labels) -> Detector:
    """The joint detector.

    Args:
        forward: the network.
        images: (N, C, H, W) float32 benign calibration images in [0, 1].
        labels: (N,) int64.

    Raises:
        ExportError: the inputs are no images, or fewer than 50 are labelled rightly.
    """
    seen = squeezed_view(forward, images)
    channels = images.shape[1]
    bits = COLOUR_BITS if channels == 3 else GREY_BITS
    return Detector(
        name=JOINT,
        description=f"Xu et al. 2018, {bits} bits, median 2×2, non-local means {SEARCH}-{PATCH}-{STRENGTH}: "
        "largest L1 distance of softmaxes; flagged images answered with the label of the version farthest "
        "away; every image takes all passes",
        passes=1 + len(squeezers(channels)),
        view=lambda attacked: squeezed_view(forward, attacked),
        held_out=HeldOut.of(labels, seen.raw_labels, fixed(seen.score, seen.corrected_labels)),
    )
