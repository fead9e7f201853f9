"""Networks whose numbers can be followed on paper, and how to tap any network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nip_export.fit.profiles import influence_profiles
from nip_export.network import TapKind, evaluation_mode, find_taps
from nip_export.network.plan import Tap
from nip_export.network.run import TapCells, tapped_network
from nip_export.network.tapped import TappedNetwork

CPU = torch.device("cpu")
profile_on_cpu = partial(influence_profiles, device=CPU)


def linear(*rows: Sequence[float]) -> nn.Linear:
    """A linear layer without bias whose weight matrix has these rows, one per output."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


class VectorToy(nn.Module):
    """(N, 2) → hidden (N, 3) → in-place ReLU → logits (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = linear([1, 0], [0, 1], [1, -1])
        self.relu = nn.ReLU(inplace=True)
        self.head = linear([2, -1, 5], [1, 3, 7], [0, 0, 1])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 3)."""
        logits: Tensor = self.head(self.relu(self.hidden(x)))
        return logits


class MapToy(nn.Module):
    """(N, 1, 4, 4) → 1×1 convolution to channels a₀ = x, a₁ = 2x → logits (N, 2).

    z₀ = Σ column · a₀ − Σ a₁ over positions (row, column) with columns 0…3, and z₁ = 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        columns = torch.arange(4.0).repeat(4)
        self.head = linear([*columns.tolist(), *[-1.0] * 16], [0.0] * 32)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 2)."""
        logits: Tensor = self.head(self.conv(x).flatten(1))
        return logits


def tap_by_hand(
    model: nn.Module, name: str, kind: TapKind, shape: tuple[int, ...], *, cells: int = 1
) -> tuple[TappedNetwork, TapCells]:
    """A network with one tap."""
    network = TappedNetwork(model, [name], mean=None, std=None)
    return network, TapCells(Tap(name, kind, shape), cells)


def tap_automatically(
    model: nn.Module,
    example: Tensor,
    *,
    cells: int = 2,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[TappedNetwork, tuple[TapCells, ...]]:
    """A network with its automatic taps, pooled to at most `cells` cells per axis."""
    with evaluation_mode(model):
        plan = find_taps(model, example)
    grids = tuple(TapCells(tap, tap.cells(cells)) for tap in plan.layers)
    return tapped_network(model, example, plan.names, mean=mean, std=std), grids
