"""Whether the twin that adaptive attacks look through computes what the file answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nip_export.capture import evaluation_mode
from nip_export.evaluate.threats import Images
from nip_export.verify import DefendedTwin
from nip_runtime.errors import InputError
from nip_runtime.rates import Rate
from nip_runtime.session import DefendedSession

LARGEST_DIFFERENCE = 1e-4
BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Twin against file on the same N images.

    Attributes:
        largest_difference: max |Δ logit| over the rows that both flag or both do not; NaN without any.
        same_answer: share of images with the same defended argmax.
        same_flag: share of images that both flag or both do not.
    """

    largest_difference: float
    same_answer: Rate
    same_flag: Rate

    @property
    def holds(self) -> bool:
        """The protocol's gate: logits within 1e-4 wherever flags are the same, and every answer the same."""
        return self.largest_difference < LARGEST_DIFFERENCE and self.same_answer.count == self.same_answer.n

    def __str__(self) -> str:
        return (
            f"max |Δ logit| {self.largest_difference:.1e}, same answer {self.same_answer.count} of "
            f"{self.same_answer.n}, same flag {self.same_flag.count} of {self.same_flag.n}"
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
    answers = session.predict(images)
    with evaluation_mode(twin), torch.no_grad():
        parts = [twin(part) for part in torch.split(torch.from_numpy(images), BATCH)]
    logits = torch.cat([part.logits for part in parts]).numpy()
    same_flag = torch.cat([part.flagged for part in parts]).numpy() == answers.flagged
    differences = np.abs(logits - answers.logits)[same_flag]
    same_answer = logits.argmax(1) == answers.labels
    return Parity(
        largest_difference=float(differences.max()) if len(differences) else float("nan"),
        same_answer=Rate(int(same_answer.sum()), len(images)),
        same_flag=Rate(int(same_flag.sum()), len(images)),
    )
