"""What the two tests of AFLS-AED learn from benign images; see :mod:`nip_evaluate.baselines.afls`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_evaluate.terms.threats import Images
from nip_export.network import evaluation_mode, pool_activation
from nip_export.network.run import Floats, TapCells
from nip_export.network.tapped import TappedNetwork
from nip_export.support.progress import Progress, silent

HIDDEN, DEPTH = 128, 4
"""Width of a regressor's hidden layers, and how many linear layers it has."""
EPOCHS, BATCH, RATE, DECAY = 40, 64, 1e-3, 1e-2
MASKS = 4
MASK_SPREAD = 0.01
"""Masks start as far from 1, each elsewhere: all at 1 they would have the same gradient and stay one mask."""
MASK_STEPS, MASK_BATCH, MASK_RATE = 60, 16, 1e-3
"""Together, masks may move by 0.06; in the authors' runs, by 0.08."""
LEAST = 1e-8
"""Kept above 0, where a logarithm is taken."""


class Regressors(nn.Module):
    """Estimates the pooled activation of every earlier layer from the deepest one's.

    Args:
        deepest: (N, D) float32, what it estimates from.
        earlier: per layer (N, Dₗ) float32. Means and deviations of both are taken out for training.
    """

    def __init__(self, deepest: Floats, earlier: Sequence[Floats]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(deepest.mean(0)))
        self.register_buffer("deviation", torch.from_numpy(_deviation(deepest)))
        for index, values in enumerate(earlier):
            self.register_buffer(f"mean_{index}", torch.from_numpy(values.mean(0)))
            self.register_buffer(f"deviation_{index}", torch.from_numpy(_deviation(values)))
        self.regressors = nn.ModuleList(_regressor(deepest.shape[1], each.shape[1]) for each in earlier)

    def standard(self, deepest: Tensor) -> list[Tensor]:
        """Estimates in benign deviations from the benign mean, per layer (N, Dₗ)."""
        inputs = (deepest - self.get_buffer("mean")) / self.get_buffer("deviation")
        return [regressor(inputs) for regressor in self.regressors]

    def forward(self, deepest: Tensor) -> list[Tensor]:
        """Estimates per layer (N, Dₗ), in the layers' own units."""
        return [
            values * self.get_buffer(f"deviation_{index}") + self.get_buffer(f"mean_{index}")
            for index, values in enumerate(self.standard(deepest))
        ]

    def errors(self, deepest: Floats, earlier: Sequence[Floats]) -> NDArray[np.float64]:
        """Squared distances (N, layers) of estimates and layers, each row by itself."""
        device = self.get_buffer("mean").device
        with evaluation_mode(self), torch.no_grad():
            estimates = self(torch.from_numpy(deepest).to(device))
        apart = [
            np.square(values.astype(np.float64) - estimate.cpu().numpy()).sum(1)
            for values, estimate in zip(earlier, estimates, strict=True)
        ]
        return np.stack(apart, axis=1)


def train_regressors(
    deepest: Floats,
    earlier: Sequence[Floats],
    *,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> Regressors:
    """Fit regressors by their mean squared error.

    Args:
        deepest: (N, D) float32 of benign images, N ≥ 2.
        earlier: per layer (N, Dₗ) float32 of the same images.
        seed: of first weights and batches.
        device: where they are trained.
        progress: told of every epoch.
    """
    advance = progress("AFLS-AED: recovery", EPOCHS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Regressors(deepest, earlier)
    targets = [
        torch.from_numpy((values - values.mean(0)) / _deviation(values)).to(device) for values in earlier
    ]
    inputs = torch.from_numpy(deepest).to(device)
    model = model.to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    random = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for rows in np.array_split(random.permutation(len(inputs)), max(1, len(inputs) // BATCH)):
            estimates = model.standard(inputs[rows])
            losses = [
                (estimate - target[rows]).square().mean()
                for estimate, target in zip(estimates, targets, strict=True)
            ]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
            optimiser.step()
        advance(1)
    return model.eval()


def train_masks(
    network: TappedNetwork,
    grids: Sequence[TapCells],
    images: Images,
    *,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> Images:
    """Masks (MASKS, *shape) under which benign images keep their answer and move their features.

    Args:
        network: with the taps of `grids`.
        grids: the layers, as they are pooled.
        images: (N, *shape) float32 benign images.
        seed: of the start and of the batches.
        device: where the network lives.
        progress: told of every step.
    """
    advance = progress("AFLS-AED: masks", MASK_STEPS)
    random = np.random.default_rng(seed)
    start = 1 + MASK_SPREAD * random.standard_normal((MASKS, *images.shape[1:]))
    masks = torch.from_numpy(start.astype(np.float32)).to(device).requires_grad_(True)
    optimiser = torch.optim.AdamW([masks], lr=MASK_RATE, weight_decay=DECAY)
    with evaluation_mode(network):
        for _ in range(MASK_STEPS):
            rows = random.choice(len(images), min(MASK_BATCH, len(images)), replace=False)
            batch = torch.from_numpy(images[rows]).to(device)
            with torch.no_grad():
                raw, *tapped = network(batch)
                layers = _pooled(network, grids, tapped)
            loss = torch.zeros((), device=device)
            for mask in masks:
                masked, *moved = network(batch * mask)
                loss = loss + inconsistency(raw, layers, masked, _pooled(network, grids, moved)).mean()
            (masks.grad,) = torch.autograd.grad(loss / len(masks), [masks])
            optimiser.step()
            advance(1)
    found: Images = masks.detach().cpu().numpy()
    return found


def inconsistency(raw: Tensor, layers: Sequence[Tensor], masked: Tensor, moved: Sequence[Tensor]) -> Tensor:
    """How much the answer moves for what the layers move: (N,), of one mask.

    Args:
        raw: logits (N, C) of the images.
        layers: per layer (N, Dₗ).
        masked: logits (N, C) of the masked images.
        moved: per layer (N, Dₗ), of the masked images.
    """
    believed = nn.functional.one_hot(raw.argmax(1), raw.shape[1])
    entropy = -(raw.softmax(1) * raw.log_softmax(1)).sum(1)
    answer = (masked.softmax(1) - believed).square().mean(1) * entropy
    ratios = [
        (answer + LEAST).log() - ((after - before).square().mean(1) + LEAST).log()
        for before, after in zip(layers, moved, strict=True)
    ]
    return torch.stack(ratios).mean(0)


def _pooled(network: TappedNetwork, grids: Sequence[TapCells], activations: Sequence[Tensor]) -> list[Tensor]:
    tapped = dict(zip(network.taps, activations, strict=True))
    return [pool_activation(tapped[grid.tap.name], kind=grid.tap.kind, cells=grid.cells) for grid in grids]


def _regressor(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, *[HIDDEN] * (DEPTH - 2)):
        layers += [nn.Linear(width, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, outputs))


def _deviation(values: Floats) -> Floats:
    spread: Floats = np.maximum(values.std(0), np.float32(1e-6))
    return spread
