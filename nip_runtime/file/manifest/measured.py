"""What was measured of a file at its export: calibration, conversion, verification."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nip_runtime.file.manifest.checks import require
from nip_runtime.file.manifest.choices import Labels
from nip_runtime.file.rates import Rate


@dataclass(frozen=True, kw_only=True)
class CalibrationInfo:
    """What held-out benign images measured.

    ``benign_budget`` is the share of correctly classified benign images that may be flagged; ``flag_rate``
    the share that was; ``pass2_rate`` the share that needed the second pass. Where ``labels`` were
    predicted, the network's own predictions counted as right, and ``accuracy_raw`` and ``accuracy_defended``
    are agreement with them.
    """

    benign_budget: float
    images: int
    flag_rate: Rate
    pass2_rate: Rate
    accuracy_raw: Rate
    accuracy_defended: Rate
    labels: Labels = Labels.GIVEN

    @property
    def measure(self) -> str:
        """What ``accuracy_raw`` and ``accuracy_defended`` are, in a word: accuracy or agreement."""
        return "accuracy" if self.labels is Labels.GIVEN else "agreement"

    def __post_init__(self) -> None:
        require(0 < self.benign_budget < 1, "benign_budget", "a share between 0 and 1", self.benign_budget)
        require(self.images >= 1, "images", "at least 1", self.images)


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
        require(0 <= change < math.inf, "max_abs_logit_difference", "0 or more", change)


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
        require(self.images >= 1, "images", "at least 1", self.images)
        require(len(self.batches) > 0 and min(self.batches) > 0, "batches", "positive sizes", self.batches)
        error = self.max_abs_logit_error
        require(0 <= error < math.inf, "max_abs_logit_error", "0 or more", error)
        require(0 <= self.argmax_agreement <= 1, "argmax_agreement", "a share", self.argmax_agreement)
