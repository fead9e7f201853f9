"""A small network that tells three hums apart, and recordings of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RATE, SAMPLES = 8000, 256
NAMES = ("high", "low", "middle")
_PITCH = {"high": 900, "low": 200, "middle": 450}


def hums(name: str, count: int, seed: int) -> NDArray[np.float32]:
    """Recordings (count, SAMPLES): one pitch, any phase and loudness, in noise."""
    random = np.random.default_rng([seed, NAMES.index(name)])
    pitch = _PITCH[name] * random.uniform(0.8, 1.25, (count, 1))
    phase, loud = random.uniform(0, 2 * np.pi, (count, 1)), random.uniform(0.1, 0.5, (count, 1))
    waves = loud * np.sin(2 * np.pi * pitch * np.arange(SAMPLES) / RATE + phase)
    sound: NDArray[np.float32] = (waves + random.normal(0, 0.03, waves.shape)).clip(-1, 1).astype(np.float32)
    return sound


class Hums(nn.Module):
    """Two convolutions and global pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(1, 8, 16, 4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv1d(8, 16, 5, 2), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(16, len(NAMES))

    def forward(self, samples: Tensor) -> Tensor:
        pooled = self.flatten(self.pool(self.second(self.first(samples))))
        logits: Tensor = self.classifier(pooled)
        return logits


@cache
def network() -> nn.Module:
    """Trained for a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Hums()
        samples = torch.from_numpy(np.concatenate([hums(name, 60, 9) for name in NAMES]))[:, None]
        labels = torch.arange(len(NAMES)).repeat_interleave(60)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(80):
            loss = nn.functional.cross_entropy(model(samples), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


def write(folder: Path, count: int, seed: int, soundfile: Any) -> None:
    """A folder of WAV files per class."""
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        for number, sound in enumerate(hums(name, count, seed)):
            soundfile.write(folder / name / f"{number:03}.wav", sound, RATE, subtype="PCM_16")
