from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nip_evaluate.terms.threats import Images, Labels
from nip_export.data import to_model_input
from nip_export.demo.example import Example, load_example

COUNT = 24


class Normalising(nn.Module):
    """The embedded network on images in [0, 1]."""

    def __init__(self, example: Example) -> None:
        super().__init__()
        self.network = example.model
        self.mean, self.std = example.mean[0], example.std[0]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


@dataclass(frozen=True)
class Scene:
    """A trained victim and test images, some of which it already gets wrong."""

    victim: nn.Module
    images: Images
    labels: Labels

    def logits(self, images: Images) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.victim(torch.from_numpy(images))
        return logits

    def margins(self, images: Images) -> Tensor:
        """By how much another class leads: (n,), negative where the true one does."""
        logits, truth = self.logits(images), torch.from_numpy(self.labels[: len(images)])[:, None]
        return logits.scatter(1, truth, -torch.inf).amax(1) - logits.gather(1, truth)[:, 0]

    def fooled(self, images: Images) -> int:
        return int((self.margins(images) > 0).sum())


@pytest.fixture(scope="session")
def scene() -> Scene:
    example = load_example()
    test = example.test
    victim = Normalising(example)
    images = to_model_input(test.images, 1)
    with torch.no_grad():
        everything = Scene(victim, images, test.labels)
        lead = -everything.margins(images).numpy()
    # Two that are misclassified from the start, so that what becomes of those is seen too, two that nearly
    # are, within reach of one pixel, and others as they come.
    near = np.where(lead > 0, lead, np.inf).argsort()[:2]
    others = np.setdiff1d((lead > 0).nonzero()[0], near)[: COUNT - 4]
    rows = np.concatenate([(lead < 0).nonzero()[0][:2], near, others])
    return Scene(victim, images[rows], test.labels[rows])
