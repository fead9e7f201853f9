"""The deployed file as the attacker meets it: answers, no gradients, and every question counted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nip_runtime.session import DefendedSession


class DeployedModule(nn.Module):
    """Answers through onnxruntime what a torch victim would answer.

    Args:
        session: the defended file; stays open and stays the caller's.

    Attributes:
        rows_answered: how many inputs it has answered so far.
    """

    def __init__(self, session: DefendedSession) -> None:
        super().__init__()
        self._session = session
        self.rows_answered = 0
        # foolbox warns of victims in training mode.
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Defended logits (N, C) float32 of images (N, *shape) within its bounds; cuts every gradient."""
        # A blend of two images may leave the bounds by rounding, which the session would refuse.
        asked = images.detach().clamp(*self._session.manifest.input.bounds).numpy()
        answers = self._session.predict(np.ascontiguousarray(asked, dtype=np.float32))
        self.rows_answered += len(asked)
        return torch.from_numpy(answers.logits)
