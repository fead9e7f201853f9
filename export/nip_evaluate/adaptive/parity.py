"""Whether the twin that adaptive attacks look through computes what the file answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nip_evaluate.terms.threats import Images
from nip_export.network import evaluation_mode
from nip_export.verify import DefendedTwin, TwinOutputs
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Precision
from nip_runtime.file.rates import Rate
from nip_runtime.session import DefendedSession

TOLERANCE = 1e-4
"""Largest difference of a logit of the backbone; for corrected rows, as a share of the largest logit."""
KNIFE_EDGE = 1e-2
"""Rows this close to a cut, in units of the gate or in logits, may fall either way in float32."""
BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Twin against file on the same N images.

    Attributes:
        backbone_difference: max |Δ logit| of the raw logits, and of the defended ones of rows that neither
            flags.
        corrected_difference: max |Δ logit| of the defended logits of rows that both flag, which carry the
            rounding of read-outs with large weights; None without such rows.
        corrected_size: largest defended logit of those rows, at least 1.
        same_answer: share of images with the same defended argmax.
        same_flag: share of images that both flag or neither does.
        unexplained: images with another answer or flag that are not on a knife's edge.
    """

    backbone_difference: float
    corrected_difference: float | None
    corrected_size: float
    same_answer: Rate
    same_flag: Rate
    unexplained: int

    @property
    def holds(self) -> bool:
        """Whether the twin stands for the file: what differs is rounding. NaN does not hold."""
        corrected = self.corrected_difference is None or (
            self.corrected_difference < TOLERANCE * self.corrected_size
        )
        return self.backbone_difference < TOLERANCE and corrected and self.unexplained == 0

    def __str__(self) -> str:
        corrected = "none" if self.corrected_difference is None else f"{self.corrected_difference:.1e}"
        return (
            f"max |Δ logit| {self.backbone_difference:.1e}, of corrected rows {corrected} (largest logit "
            f"{self.corrected_size:.0f}), same answer {self.same_answer.count} of {self.same_answer.n}, "
            f"same flag {self.same_flag.count} of {self.same_flag.n}"
        )


def parity_claim(precision: Precision) -> str:
    """What is claimed of a file's twin; for other precisions than fp32 only that it was measured."""
    if precision is Precision.FP32:
        return "The twin that adaptive attacks look through computes what the file does."
    return (
        f"The file computes in {precision}, the twin that adaptive attacks look through in fp32: how far "
        "they differ is measured and not required to be little."
    )


def parity(twin: DefendedTwin, session: DefendedSession, images: Images) -> Parity:
    """Compare twin and file.

    Args:
        twin: on the CPU.
        session: the exported file.
        images: (N, *shape) float32 within the bounds, N ≥ 1.

    Raises:
        InputError: no images.
    """
    if not len(images):
        raise InputError.mismatch(expected="at least one image", got="none", fix="pass the attacked images")
    file = session.predict(images)
    with evaluation_mode(twin), torch.no_grad():
        parts = [twin(part) for part in torch.split(torch.from_numpy(images), BATCH)]
    ours = TwinOutputs(*(torch.cat(column) for column in zip(*parts, strict=True)))
    flagged, logits = ours.flagged.numpy(), ours.logits.numpy()
    same_flag, same_answer = flagged == file.flagged, logits.argmax(1) == file.labels
    defended, raw = np.abs(logits - file.logits), np.abs(ours.raw_logits.numpy() - file.raw_logits)
    plain, both = defended[~flagged & ~file.flagged], defended[flagged & file.flagged]
    return Parity(
        backbone_difference=float(np.concatenate([raw, plain]).max()),
        corrected_difference=float(both.max()) if len(both) else None,
        corrected_size=float(np.abs(logits[flagged]).max(initial=1)),
        same_answer=Rate(int(same_answer.sum()), len(images)),
        same_flag=Rate(int(same_flag.sum()), len(images)),
        unexplained=int((~(same_flag & same_answer) & ~on_the_edge(twin, ours)).sum()),
    )


def on_the_edge(twin: DefendedTwin, outputs: TwinOutputs) -> NDArray[np.bool_]:
    """Rows (N,) that rounding may push over a threshold of the gate, or to another argmax."""
    gate = twin.spec.gate
    edge = (outputs.score - gate.flag_threshold).abs() < KNIFE_EDGE
    if gate.screen_threshold is not None:
        edge |= (outputs.sight - gate.screen_threshold).abs() < KNIFE_EDGE
    for logits in (outputs.logits, outputs.raw_logits):
        first, second = logits.topk(2, 1).values.unbind(1)
        edge |= first - second < KNIFE_EDGE
    rows: NDArray[np.bool_] = edge.numpy()
    return rows
