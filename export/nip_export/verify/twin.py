"""The whole defence as a torch module, differentiable where the graph is: for parity and adaptive attacks."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nip_export.defence.decision import DISBELIEF
from nip_export.defence.spec import ClassScale, Curve, DefenceSpec
from nip_export.defence.statistics import LEAST_CHANGE
from nip_export.defence.views import see_torch
from nip_export.network import pool_activation
from nip_export.network.grain import grain_torch
from nip_export.network.tapped import TappedNetwork
from nip_runtime.file.manifest import Policy

LEAST_SQUARE = 1e-12
"""Squared distances are kept above it: rounding may carry them below 0, and √ has no slope there."""


class TwinOutputs(NamedTuple):
    """Outputs for N rows, named and shaped as the graph's, the score, and what the screen looks at."""

    logits: Tensor
    raw_logits: Tensor
    suspicion: Tensor
    flagged: Tensor
    candidate: Tensor
    score: Tensor
    sight: Tensor


def probability_change(raw: Tensor, second: Tensor) -> Tensor:
    """:func:`nip_export.defence.statistics.change` on tensors."""
    moved = (second.softmax(1) - raw.softmax(1)).abs().sum(1, keepdim=True)
    return moved.clamp_min(LEAST_CHANGE)


class TorchScale(nn.Module):
    """:class:`nip_export.defence.spec.ClassScale` on tensors."""

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, scale: ClassScale) -> None:
        super().__init__()
        self.per_class = scale.per_class
        self.register_buffer("mean", torch.from_numpy(scale.mean))
        self.register_buffer("inverse_std", torch.from_numpy(scale.inverse_std))

    def forward(self, values: Tensor, predicted: Tensor) -> Tensor:
        """Standardise (N, K) values by the statistics of the predicted classes (N,)."""
        rows = predicted if self.per_class else torch.zeros_like(predicted)
        return (values - self.mean[rows]) * self.inverse_std[rows]


class TorchCurve(nn.Module):
    """:class:`nip_export.defence.spec.Curve` on tensors."""

    knots: Tensor
    widths: Tensor
    slopes: Tensor

    def __init__(self, curve: Curve) -> None:
        super().__init__()
        self.base = curve.base
        for name in ("knots", "widths", "slopes"):
            self.register_buffer(name, torch.from_numpy(getattr(curve, name)))

    def forward(self, values: Tensor) -> Tensor:
        """Evaluate elementwise."""
        steps = torch.minimum((values[..., None] - self.knots).clamp_min(0), self.widths)
        return self.base + steps @ self.slopes


class DefendedTwin(nn.Module):
    """Computes what the exported graph computes, with the second pass on every row.

    Args:
        network: the backbone with its taps, in eval mode.
        spec: the defence.
    """

    bank: Tensor

    def __init__(self, network: TappedNetwork, spec: DefenceSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        gate = spec.gate
        self.disagreement_scale = TorchScale(gate.disagreement_scale)
        self.disagreement_tail = TorchCurve(gate.disagreement_tail)
        self.typicality_scale = TorchScale(gate.typicality_scale)
        self.typicality_tail = TorchCurve(gate.typicality_tail)
        self.grain_tail = None if gate.grain_tail is None else TorchCurve(gate.grain_tail)
        self.response_scale = TorchScale(gate.response_scale)
        self.response_tail = TorchCurve(gate.response_tail)
        self.change_scale = TorchScale(gate.change_scale)
        self.change_tail = TorchCurve(gate.change_tail)
        self.suspicion = TorchCurve(gate.suspicion)
        self.register_buffer("bank", torch.from_numpy(spec.bank.dense()))
        for name in ("weight", "bias", "centres"):
            self.register_buffer(f"typical_{name}", torch.from_numpy(getattr(spec.typicality, name)))
        for index, readout in enumerate(spec.readouts):
            self.register_buffer(f"weight_{index}", torch.from_numpy(readout.weight))
            self.register_buffer(f"bias_{index}", torch.from_numpy(readout.bias))

    def judging(self, spec: DefenceSpec) -> DefendedTwin:
        """The same twin with the cuts of another spec, which is the same in all else."""
        twin = copy.copy(self)
        twin.spec = spec
        return twin

    def evidence(self, raw: Tensor, activations: dict[str, Tensor]) -> Tensor:
        """Early evidence (N, C) from tapped activations, or from the logits (N, C) without read-outs."""
        if not self.spec.readouts:
            return raw.log_softmax(1)
        opinions = []
        for index, readout in enumerate(self.spec.readouts):
            pooled = pool_activation(activations[readout.tap], kind=readout.kind, cells=readout.cells)
            scores = pooled @ self.get_buffer(f"weight_{index}") + self.get_buffer(f"bias_{index}")
            opinions.append(scores.log_softmax(1))
        return torch.stack(opinions).mean(0)

    def features(self, activations: dict[str, Tensor]) -> Tensor:
        """Pooled features (N, D) from tapped activations."""
        typicality = self.spec.typicality
        return pool_activation(activations[typicality.tap], kind=typicality.kind)

    def distance(self, features: Tensor) -> Tensor:
        """Whitened distance (N, 1) of pooled features (N, D) to the nearest benign centre."""
        whitened = features @ self.get_buffer("typical_weight") + self.get_buffer("typical_bias")
        centres = self.get_buffer("typical_centres")
        apart = centres.square().sum(1) - 2 * whitened @ centres.T
        squares = whitened.square().sum(1, keepdim=True) + apart.amin(1, keepdim=True)
        return squares.clamp_min(LEAST_SQUARE).sqrt()

    def sight(self, free: Tensor, inputs: Tensor) -> Tensor:
        """What the screen looks at (N,): the free score (N,), and the grain where the gate minds it."""
        return free if self.grain_tail is None else free + self.grain_tail(grain_torch(inputs)[:, 0])

    def look_again(self, inputs: Tensor, added: Tensor | None = None) -> Tensor:
        """Inputs as the second pass sees them, before they are kept within the bounds.

        Args:
            inputs: (N, *shape).
            added: inverse perturbations (N or 1, *shape); None: the universal one.
        """
        seen = see_torch(inputs, self.spec.view, self.spec.bounds)
        return seen + (self.bank if added is None else added) if self.spec.bank.adds else seen

    def forward(self, inputs: Tensor) -> TwinOutputs:
        """Answer (N, *shape) float32 inputs within the bounds."""
        gate, policy = self.spec.gate, self.spec.policy
        raw, *activations = self.network(inputs)
        by_tap = dict(zip(self.network.taps, activations, strict=True))
        early, features = self.evidence(raw, by_tap), self.features(by_tap)
        predicted = raw.argmax(1)
        is_predicted = nn.functional.one_hot(predicted, raw.shape[1]).bool()

        def relative(logits: Tensor) -> Tensor:
            return logits - logits.gather(1, predicted[:, None])

        distance = relative(early).masked_fill(is_predicted, -torch.inf).amax(1, keepdim=True)
        free = self.disagreement_tail(self.disagreement_scale(distance, predicted)[:, 0])
        free = free + self.typicality_tail(self.typicality_scale(self.distance(features), predicted)[:, 0])
        threshold, sight = gate.screen_threshold, self.sight(free, inputs)
        screened = torch.ones_like(free, dtype=torch.bool)
        if threshold is not None:
            screened = ~(sight <= threshold)
        hypothesis = early.argmax(1)
        added = self.bank[hypothesis] if policy is Policy.ALWAYS else None
        second = self.network(self.look_again(inputs, added).clamp(*self.spec.bounds))[0]
        shifts = self.response_scale(relative(second) - relative(raw), predicted)
        largest = shifts.masked_fill(is_predicted, -torch.inf).amax(1)
        change = probability_change(raw, second)
        response = self.response_tail(largest)
        response = response + self.change_tail(self.change_scale(change, predicted)[:, 0])
        score = free + response * screened
        flagged = screened & ~(score <= gate.flag_threshold)
        weight = torch.where(screened, gate.early_weight, 1.0)[:, None]
        others = weight * early + shifts.masked_fill(~screened[:, None], 0)
        candidate = others.masked_fill(is_predicted, -torch.inf).argmax(1)
        if policy is Policy.ALWAYS:
            logits, candidate = second, hypothesis
        elif policy is Policy.DETECT:
            logits = raw
        else:
            lowest = others.masked_fill(is_predicted, torch.inf).amin(1, keepdim=True) - DISBELIEF
            corrected = torch.where(is_predicted, lowest, others).log_softmax(1)
            logits = torch.where(flagged[:, None], corrected, raw)
        return TwinOutputs(
            logits,
            raw,
            self.suspicion(score).clamp_max(1),
            flagged,
            candidate,
            score=score,
            sight=sight,
        )
