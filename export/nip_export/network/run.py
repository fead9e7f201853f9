"""The user's network at work on arrays: batches in, logits and pooled activations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nip_export.data.inputs import Inputs
from nip_export.network import Tap, evaluation_mode, pool_activation_numpy
from nip_export.network.grain import pooled_grain
from nip_export.network.tapped import TappedNetwork, channel_constant
from nip_export.support.batches import Batches
from nip_export.support.progress import Advance

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
        pooled: per tapped layer (N, D) float32; of colour images their grain (N, 1) as well.
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
    inputs: Inputs,
    grids: Sequence[TapCells],
    *,
    batch_size: int,
    device: torch.device,
    memory: int | None = None,
    advance: Advance | None = None,
) -> Passed:
    """Run the network over (N, *shape) float32 inputs, N ≥ 1, in eval mode, and pool what is tapped.

    At most `batch_size` of them at once, fewer where `memory` (bytes, as for :class:`Batches`) is short.
    """
    logits: list[Floats] = []
    pooled: dict[str, list[Floats]] = {}

    def work(rows: slice) -> None:
        batch = np.ascontiguousarray(inputs[rows])
        scores, *activations = network(torch.from_numpy(batch).to(device))
        by_name = dict(zip(network.taps, activations, strict=True))
        vectors = dict(pooled_grain(batch))
        for grid in grids:
            activation = by_name[grid.tap.name].cpu().numpy()
            found = pool_activation_numpy(activation, kind=grid.tap.kind, cells=grid.cells)
            vectors[grid.tap.name] = found.astype(np.float32)
        logits.append(scores.cpu().numpy())
        for name, rows_of in vectors.items():
            pooled.setdefault(name, []).append(rows_of)

    with evaluation_mode(network), torch.no_grad():
        Batches(batch_size, inputs.shape[1:], memory=memory, device=device).run(len(inputs), work, advance)
    return Passed(np.concatenate(logits), {name: np.concatenate(parts) for name, parts in pooled.items()})
