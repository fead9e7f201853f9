"""Neuron influence: how much each neuron contributes to a class (Chen et al., NIP, IEEE TDSC 2024).

The influence of neuron j on class c for one input is its activation times the derivative of the class's
logit with respect to it, aⱼ · ∂z_c/∂aⱼ. Neurons of maps are channels, or channels within a cell of a coarse
grid; their influence is the mean over the positions they cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nip_export.data.inputs import Inputs
from nip_export.network import evaluation_mode, pool_activation
from nip_export.network.run import TapCells
from nip_export.network.tapped import TappedNetwork
from nip_export.support.batches import Batches
from nip_export.support.progress import Advance
from nip_runtime.errors import ExportError


@dataclass(frozen=True, eq=False)
class InfluenceProfile:
    """Mean influence of every neuron of one layer on every class, over benign inputs of that class.

    Attributes:
        tap: name of the layer.
        influence: (C, D) float32, in logits; zero for a class without inputs.
        counts: (C,) int64: inputs that each row was averaged over.
        top_k: k.
    """

    tap: str
    influence: NDArray[np.float32]
    counts: NDArray[np.int64]
    top_k: int

    def __post_init__(self) -> None:
        width = self.influence.shape[1]
        if 2 * self.top_k > width:
            raise ExportError(
                f"top_k: expected at most {width // 2}, half of the {width} neurons of layer {self.tap!r}, "
                f"got {self.top_k}"
            )

    @property
    def front(self) -> NDArray[np.int64]:
        """The k neurons of largest influence per class, (C, k), largest first."""
        return np.argsort(-self.influence, axis=1, kind="stable")[:, : self.top_k]

    @property
    def tail(self) -> NDArray[np.int64]:
        """The k neurons of smallest influence per class, (C, k), smallest first."""
        return np.argsort(self.influence, axis=1, kind="stable")[:, : self.top_k]


def influences(
    network: TappedNetwork, inputs: Tensor, labels: Tensor, grids: Sequence[TapCells]
) -> dict[str, Tensor]:
    """Influence of every neuron on each input's own label.

    Args:
        network: in eval mode; its taps must cover the grids.
        inputs: (N, *shape) float32.
        labels: (N,) int64.
        grids: layers and their pooling.

    Returns:
        Per layer (N, D) float32: pooled activation × gradient.
    """
    logits, *activations = network(inputs.requires_grad_(True))
    by_name = dict(zip(network.taps, activations, strict=True))
    taps = [by_name[grid.tap.name] for grid in grids]
    # Rows do not mix in eval mode, so the gradient of the sum is each row's own gradient.
    gradients = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), taps)
    return {
        grid.tap.name: pool_activation((a * g).detach(), kind=grid.tap.kind, cells=grid.cells)
        for grid, a, g in zip(grids, taps, gradients, strict=True)
    }


def influence_profiles(
    network: TappedNetwork,
    inputs: Inputs,
    labels: NDArray[np.int64],
    grids: Sequence[TapCells],
    *,
    classes: int,
    top_k: int,
    batch_size: int,
    device: torch.device,
    memory: int | None = None,
    advance: Advance | None = None,
) -> Mapping[str, InfluenceProfile]:
    """Average influences per class.

    Args:
        network: the tapped network.
        inputs: (N, *shape) float32 benign inputs that the network classifies correctly.
        labels: (N,) int64.
        grids: layers to profile and their pooling.
        classes: C.
        top_k: number of front and of tail neurons per class.
        batch_size: inputs per gradient pass, at most.
        device: where the network lives.
        memory: bytes that this process may hold; None: see :class:`nip_export.support.batches.Batches`.
        advance: called with the number of inputs done.

    Raises:
        ExportError: a layer has fewer than 2·`top_k` neurons.
    """
    sums = {g.tap.name: np.zeros((classes, g.tap.width(cells=g.cells))) for g in grids}
    counts = np.bincount(labels, minlength=classes)

    def work(rows: slice) -> None:
        batch = torch.from_numpy(np.ascontiguousarray(inputs[rows])).to(device)
        found = influences(network, batch, torch.from_numpy(labels[rows]).to(device), grids)
        arrays = {name: values.cpu().numpy().astype(np.float64) for name, values in found.items()}
        for name, values in arrays.items():
            np.add.at(sums[name], labels[rows], values)

    with evaluation_mode(network), torch.enable_grad():
        Batches(batch_size, inputs.shape[1:], memory=memory, device=device).run(len(inputs), work, advance)
    divisor = np.maximum(counts, 1)[:, None]
    return {
        name: InfluenceProfile(name, (total / divisor).astype(np.float32), counts, top_k)
        for name, total in sums.items()
    }
