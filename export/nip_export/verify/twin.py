"""The whole defence as a torch module, differentiable where the graph is: for parity and adaptive attacks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nip_export.attach.trace import TappedNetwork
from nip_export.capture import pool_activation
from nip_export.decision import DISBELIEF
from nip_export.spec import ClassScale, Curve, DefenceSpec
from nip_runtime.manifest import Policy


class TwinOutputs(NamedTuple):
    """Outputs for N rows, named and shaped as the graph's, and two statistics of the gate."""

    logits: Tensor
    raw_logits: Tensor
    suspicion: Tensor
    flagged: Tensor
    candidate: Tensor
    score: Tensor
    disagreement: Tensor


class TorchScale(nn.Module):
    """:class:`nip_export.spec.ClassScale` on tensors."""

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
    """:class:`nip_export.spec.Curve` on tensors."""

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
        self.response_scale = TorchScale(gate.response_scale)
        self.response_tail = TorchCurve(gate.response_tail)
        self.suspicion = TorchCurve(gate.suspicion)
        self.register_buffer("bank", torch.from_numpy(spec.bank.dense()))
        for index, readout in enumerate(spec.readouts):
            self.register_buffer(f"weight_{index}", torch.from_numpy(readout.weight))
            self.register_buffer(f"bias_{index}", torch.from_numpy(readout.bias))

    def evidence(self, activations: dict[str, Tensor]) -> Tensor:
        """Early evidence (N, C) from tapped activations."""
        opinions = []
        for index, readout in enumerate(self.spec.readouts):
            pooled = pool_activation(activations[readout.tap], kind=readout.kind, cells=readout.cells)
            scores = pooled @ self.get_buffer(f"weight_{index}") + self.get_buffer(f"bias_{index}")
            opinions.append(scores.log_softmax(1))
        return torch.stack(opinions).mean(0)

    def forward(self, inputs: Tensor) -> TwinOutputs:
        """Answer (N, *shape) float32 inputs within the bounds."""
        gate, policy = self.spec.gate, self.spec.policy
        raw, *activations = self.network(inputs)
        early = self.evidence(dict(zip(self.network.taps, activations, strict=True)))
        predicted = raw.argmax(1)
        is_predicted = nn.functional.one_hot(predicted, raw.shape[1]).bool()

        def relative(logits: Tensor) -> Tensor:
            return logits - logits.gather(1, predicted[:, None])

        distance = relative(early).masked_fill(is_predicted, -torch.inf).amax(1, keepdim=True)
        disagreement = self.disagreement_scale(distance, predicted)[:, 0]
        threshold = gate.screen_threshold
        screened = torch.ones_like(disagreement, dtype=torch.bool)
        if threshold is not None:
            screened = ~(disagreement <= threshold)
        hypothesis = early.argmax(1)
        added = self.bank[hypothesis] if policy is Policy.ALWAYS else self.bank
        perturbed = self.network((inputs + added).clamp(*self.spec.bounds))[0]
        shifts = self.response_scale(relative(perturbed) - relative(raw), predicted)
        shifts = shifts.masked_fill(~screened[:, None], 0)
        response = shifts.masked_fill(is_predicted, -torch.inf).amax(1)
        score = self.disagreement_tail(disagreement) + self.response_tail(response) * screened
        flagged = screened & ~(score <= gate.flag_threshold)
        others = early + shifts
        candidate = others.masked_fill(is_predicted, -torch.inf).argmax(1)
        if policy is Policy.ALWAYS:
            logits, candidate = perturbed, hypothesis
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
            disagreement=disagreement,
        )
