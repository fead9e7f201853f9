"""The network with its normalisation in front and its taps beside the logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nip_export.network.hooks import Capture
from nip_runtime.errors import ExportError


class TappedNetwork(nn.Module):
    """A network with its normalisation in front, returning logits and the tapped activations."""

    def __init__(
        self, model: nn.Module, taps: Sequence[str], *, mean: Tensor | None, std: Tensor | None
    ) -> None:
        super().__init__()
        self.model = model
        self.taps = tuple(taps)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalise(self, x: Tensor) -> Tensor:
        """Inputs (N, …) as the bare model takes them."""
        if isinstance(self.mean, Tensor):
            x = x - self.mean
        if isinstance(self.std, Tensor):
            x = x / self.std
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, C) and one activation per tap for inputs (N, …)."""
        x = self.normalise(x)
        if not self.taps:
            return (self.model(x),)
        with Capture(self.model, self.taps) as captured:
            logits = self.model(x)
        return (logits, *(captured.activations[name] for name in self.taps))


def channel_constant(values: Sequence[float] | None, example: Tensor, *, name: str) -> Tensor | None:
    """Per-channel constants shaped to broadcast over axis 1 of `example`.

    Raises:
        ExportError: neither one value nor one per channel, or a standard deviation that is not positive.
    """
    if values is None:
        return None
    channels = example.shape[1]
    if len(values) not in (1, channels):
        raise ExportError(f"expected 1 or {channels} values in {name} (one per channel), got {len(values)}")
    if name == "std" and min(values) <= 0:
        raise ExportError(f"expected positive values in std, got {min(values)}")
    constant = torch.tensor(values, dtype=example.dtype, device=example.device)
    return constant.reshape(1, -1, *(1,) * (example.ndim - 2))


def check_example(example: Tensor) -> Tensor:
    """The example as a batch of at least two, which keeps torch from taking the batch size for a constant."""
    if example.dtype != torch.float32 or example.ndim < 2 or len(example) == 0:
        raise ExportError(
            f"expected a float32 example batch (N, …) with N ≥ 1, got {example.dtype} of shape "
            f"{tuple(example.shape)}; pass one preprocessed batch in [0, 1]"
        )
    return example.detach() if len(example) > 1 else example.detach().repeat(2, *(1,) * (example.ndim - 1))
