"""Two small networks that tell voices by the waveform: (N, 1, T) float32 in [−1, 1] to logits (N, C)."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.voices.corpora import RATE


class Kind(StrEnum):
    """Which architecture."""

    WAVE = "wave"
    """1-D convolutions on the raw waveform."""
    MEL = "mel"
    """2-D convolutions on a log-mel spectrogram that the network computes itself."""


class WaveNet(nn.Module):
    """Six strided convolutions and global pooling (110 thousand parameters)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        sizes = (
            (1, 24, 32, 4),
            (24, 32, 8, 4),
            (32, 48, 5, 2),
            (48, 64, 5, 2),
            (64, 96, 5, 2),
            (96, 96, 3, 2),
        )
        blocks: list[nn.Module] = []
        for wide, out, kernel, stride in sizes:
            convolution = nn.Conv1d(wide, out, kernel, stride, kernel // 2, bias=False)
            blocks.append(nn.Sequential(convolution, nn.BatchNorm1d(out), nn.ReLU()))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(96, classes)

    def forward(self, samples: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.flatten(self.pool(self.blocks(samples)))))
        return logits


class LogMel(nn.Module):
    """Log-mel spectrogram of (N, 1, T), as (N, 1, bands, frames): all of it ordinary operators.

    Frames and their discrete Fourier transform are one convolution with windowed cosines and sines; the mel
    bands are a 1×1 convolution of the power.
    """

    kernels: Tensor
    bands: Tensor

    def __init__(self, window: int = 200, hop: int = 80, bands: int = 32) -> None:
        super().__init__()
        self.hop = hop
        times, frequencies = torch.arange(window), torch.arange(window // 2 + 1)
        angles = 2 * pi * frequencies[:, None] * times / window
        waves = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(window)
        self.register_buffer("kernels", waves[:, None].contiguous(), persistent=False)
        self.register_buffer("bands", mel_bands(window, bands)[:, :, None], persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        spectrum = functional.conv1d(samples, self.kernels, stride=self.hop)
        half = self.kernels.shape[0] // 2
        power = spectrum[:, :half].square() + spectrum[:, half:].square()
        levels = (functional.conv1d(power, self.bands) + 1e-4).log()
        return levels.unsqueeze(1)


def mel_bands(window: int, count: int) -> Tensor:
    """Triangles evenly spaced in mel up to half the rate: (count, window // 2 + 1)."""
    highest = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, 1, count + 2) * highest / 2595) - 1)
    places = torch.arange(window // 2 + 1) * RATE / window
    rising = (places - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - places) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0)


class MelNet(nn.Module):
    """Log-mel front, four 2-D convolutions, global pooling (80 thousand parameters)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.front = LogMel()
        self.norm = nn.BatchNorm2d(1)
        sizes = ((1, 16, 2), (16, 32, 2), (32, 64, 2), (64, 96, 1))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
                for wide, out, stride in sizes
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(96, classes)

    def forward(self, samples: Tensor) -> Tensor:
        found = self.blocks(self.norm(self.front(samples)))
        logits: Tensor = self.classifier(self.dropout(self.flatten(self.pool(found))))
        return logits


FACTORIES: dict[Kind, Callable[[int], nn.Module]] = {Kind.WAVE: WaveNet, Kind.MEL: MelNet}
