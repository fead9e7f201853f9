"""A model to serve, and benign and attacked images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel
from numpy.typing import NDArray

from benchmarks.hardening.example import export_example
from benchmarks.hardening.serving.stage import Images
from nip_export.demo.example import Example, load_example

_ROWS = 200
_EPS = 8 / 255
_SEED = 0


def make(path: Path) -> Images:
    """Export the demo's network to ``path``; 200 test images, and the same under PGD at 8/255."""
    example = load_example()
    export_example(path, example)
    benign = example.test.images[:_ROWS].astype(np.uint8)
    return Images.of(benign, _attacked(example, benign))


def _attacked(example: Example, benign: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rounded to whole grey levels, as an attacker has to."""
    victim = PyTorchModel(
        example.model,
        bounds=(0, 1),
        preprocessing={"mean": example.mean, "std": example.std, "axis": -3},
        device=torch.device("cpu"),
    )
    attack = LinfProjectedGradientDescentAttack(steps=50, rel_stepsize=0.1, random_start=True)
    floats = torch.from_numpy(benign.astype(np.float32) / 255)[:, None]
    torch.manual_seed(_SEED)
    _, moved, _ = attack(victim, floats, torch.from_numpy(example.test.labels[: len(benign)]), epsilons=_EPS)
    levels: NDArray[np.uint8] = (moved.detach().clamp(0, 1).numpy()[:, 0] * 255).round().astype(np.uint8)
    return levels
