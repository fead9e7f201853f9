"""The user's network at work on arrays: batches in, logits and pooled activations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nip_export.attach.trace import TappedNetwork, channel_constant
from nip_export.capture import Tap, evaluation_mode, pool_activation_numpy
from nip_export.progress import Advance

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TapCells:
    """A tapped layer and the grid (cells per spatial axis) to which its activation is pooled."""

    tap: Tap
    cells: int


@dataclass(frozen=True, eq=False)
class Passed:
    """What one forward pass over N inputs leaves.

    Attributes:
        logits: (N, C) float32.
        pooled: per tapped layer (N, D) float32.
    """

    logits: Floats
    pooled: Mapping[str, Floats]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Passed:
        """The same for some rows."""
        return Passed(self.logits[rows], {name: values[rows] for name, values in self.pooled.items()})


def tapped_network(
    model: nn.Module,
    example: torch.Tensor,
    taps: Sequence[str],
    *,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> TappedNetwork:
    """The model with its normalisation in front, returning logits and tapped activations."""
    return TappedNetwork(
        model,
        taps,
        mean=channel_constant(mean, example, name="mean"),
        std=channel_constant(std, example, name="std"),
    )


def run_network(
    network: TappedNetwork,
    inputs: Floats,
    grids: Sequence[TapCells],
    *,
    batch_size: int,
    device: torch.device,
    advance: Advance | None = None,
) -> Passed:
    """Run the network over (N, *shape) float32 inputs, N ≥ 1, in eval mode, and pool what is tapped."""
    logits: list[Floats] = []
    pooled: dict[str, list[Floats]] = {grid.tap.name: [] for grid in grids}
    with evaluation_mode(network), torch.no_grad():
        for start in range(0, len(inputs), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(inputs[start : start + batch_size])).to(device)
            scores, *activations = network(batch)
            logits.append(scores.cpu().numpy())
            by_name = dict(zip(network.taps, activations, strict=True))
            for grid in grids:
                activation = by_name[grid.tap.name].cpu().numpy()
                vectors = pool_activation_numpy(activation, kind=grid.tap.kind, cells=grid.cells)
                pooled[grid.tap.name].append(vectors.astype(np.float32))
            if advance is not None:
                advance(len(batch))
    return Passed(np.concatenate(logits), {name: np.concatenate(parts) for name, parts in pooled.items()})
