from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel

from nip_evaluate.baselines import Laboratory, logits_of
from nip_evaluate.baselines.network import Forward
from nip_evaluate.terms.threats import Images, Labels
from nip_export.config import ExportConfig
from nip_export.demo.example import Example, load_example
from nip_export.fit.benign import Benign, prepare

PROFILE, CALIBRATION, TEST = 400, 300, 40


@dataclass(frozen=True, eq=False)
class Stand:
    """A trained network with benign images, few enough for tests."""

    example: Example
    config: ExportConfig
    profile: Benign
    calibration: Benign
    images: Images
    labels: Labels


@pytest.fixture(scope="session")
def stand() -> Stand:
    example = load_example()
    config = ExportConfig(mean=example.mean, std=example.std, ascent_steps=8, batch_size=100)
    profile, calibration = prepare(
        example.profile.images[:PROFILE],
        example.profile.labels[:PROFILE],
        (example.calibration.images[:CALIBRATION], example.calibration.labels[:CALIBRATION]),
        config,
    )
    test, _ = prepare(
        example.test.images[:TEST],
        example.test.labels[:TEST],
        (example.test.images[:TEST], example.test.labels[:TEST]),
        replace(config, force=True),
    )
    return Stand(example, config, profile, calibration, test.inputs, test.labels)


@pytest.fixture(scope="session")
def laboratory(stand: Stand) -> Laboratory:
    return Laboratory(stand.example.model, stand.profile, stand.calibration, stand.config)


@pytest.fixture(scope="session")
def forward(laboratory: Laboratory) -> Forward:
    return logits_of(laboratory.bench.network)


@pytest.fixture(scope="session")
def attacked(stand: Stand) -> Images:
    """PGD 8/255 on the undefended network."""
    mean, std = stand.example.mean, stand.example.std
    model = PyTorchModel(
        stand.example.model, bounds=(0, 1), preprocessing={"mean": mean, "std": std, "axis": -3}, device="cpu"
    )
    attack = LinfProjectedGradientDescentAttack(steps=15, rel_stepsize=0.2, random_start=False)
    clean, truth = torch.from_numpy(stand.images), torch.from_numpy(stand.labels)
    _, found, _ = attack(model, clean, truth, epsilons=8 / 255)
    return np.asarray(found.detach().clamp(0, 1).numpy(), np.float32)
