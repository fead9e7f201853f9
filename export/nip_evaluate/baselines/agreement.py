"""A mirrored second pass and plain agreement: the simplest thing that a second look can be asked.

The image and its mirror image (left and right exchanged) must get the same answer. Source: Bahat, Irani and
Shakhnarovich, "Natural and Adversarial Error Detection using Invariance to Image Transformations", 2019, who
train a classifier on the softmaxes of several changed images. Here nothing is trained:

- **labels**: an image is flagged if its mirror image gets another label. There is no threshold, and what
  it costs on benign images is what it costs; no budget is kept.
- **L1**: an image is flagged if the L1 distance of the two softmaxes exceeds one threshold, cut on benign
  images exactly as the defence's own gate is. Of a flagged image whose mirror image has the same label, the
  answer stays.

Both answer flagged images with the label of the mirror image.
"""

from __future__ import annotations

import numpy as np

from nip_evaluate.baselines.held_out import Detector, HeldOut, every_row, fixed
from nip_evaluate.baselines.network import Forward
from nip_evaluate.terms.answers import Answers, Defence, GateView
from nip_evaluate.terms.threats import Images, Labels
from nip_export.defence import statistics
from nip_export.defence.views import check_view, see
from nip_runtime.file.manifest import ViewStep

MIRROR = (ViewStep.MIRROR,)
BOUNDS = (0.0, 1.0)
LABELS = "mirror agreement, labels"
L1 = "mirror agreement, L1"


def mirror_view(forward: Forward, images: Images) -> GateView:
    """The L1 distance between the softmaxes of images (N, *shape) and of their mirror images, and the labels
    of both.

    Raises:
        ExportError: the inputs have no rows and columns.
    """
    check_view(MIRROR, images.shape[1:], BOUNDS)
    raw, mirrored = forward(images), forward(see(images, MIRROR))
    apart = np.abs(np.exp(statistics.log_softmax(raw)) - np.exp(statistics.log_softmax(mirrored))).sum(1)
    return every_row(apart, raw.argmax(1).astype(np.int64), mirrored.argmax(1).astype(np.int64))


def label_agreement(forward: Forward, shape: tuple[int, ...]) -> Defence:
    """The form without a threshold; its suspicion is the L1 distance.

    Args:
        forward: the network.
        shape: of one input.

    Raises:
        ExportError: the inputs have no rows and columns.
    """
    check_view(MIRROR, shape, BOUNDS)

    def answer(images: Images) -> Answers:
        seen = mirror_view(forward, images)
        flagged = seen.raw_labels != seen.corrected_labels
        return Answers(seen.corrected_labels, seen.raw_labels, flagged, seen.score.astype(np.float32))

    return Defence(
        name=LABELS,
        description="flagged where the mirror image gets another label, and answered with that; keeps no "
        "benign budget; every image takes both passes",
        passes=2,
        answer=answer,
    )


def fit_agreement(forward: Forward, images: Images, labels: Labels) -> Detector:
    """The form that keeps a benign budget.

    Args:
        forward: the network.
        images: (N, *shape) float32 benign calibration images.
        labels: (N,) int64.

    Raises:
        ExportError: the inputs have no rows and columns, or fewer than 50 are labelled rightly.
    """
    seen = mirror_view(forward, images)
    return Detector(
        name=L1,
        description="L1 distance of the softmaxes of image and mirror image, flagged images answered with "
        "the mirror image's label; every image takes both passes",
        passes=2,
        view=lambda attacked: mirror_view(forward, attacked),
        held_out=HeldOut.of(labels, seen.raw_labels, fixed(seen.score, seen.corrected_labels)),
    )
