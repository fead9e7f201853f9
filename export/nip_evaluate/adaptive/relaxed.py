"""The defence with every choice made softly, so that an attacker sees the way to the other side of it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nip_evaluate.adaptive.objectives import WIDE_ENOUGH, Goal, Objective
from nip_evaluate.adaptive.passes import Passes, margin
from nip_export.verify import DefendedTwin
from nip_export.verify.twin import TorchScale, probability_change
from nip_runtime.file.manifest import Policy

LEAST_DOUBT = 1e-4
"""Probability that a class is not the predicted one, at least: keeps logarithms and gradients finite."""


def softly(*, temperature: float) -> Objective:
    """Margin in the mixture of raw and corrected probabilities, weighted by the gate as a sigmoid.

    The predicted class is softmax-weighted wherever the graph takes an argmax or leaves it out; the largest
    statistic is a log-sum-exp. With falling temperature this becomes the graph's own computation.

    Args:
        temperature: of every sigmoid, softmax and log-sum-exp, in logits and gate units.
    """

    def objective(twin: DefendedTwin, passes: Passes, goal: Goal) -> Tensor:
        if twin.spec.policy is Policy.ALWAYS:
            return margin(passes.second, goal.labels, goal.target)
        log_flag, log_pass, others = soft_gate(twin, passes, temperature)
        if twin.spec.policy is Policy.DETECT:
            return margin(passes.raw, goal.labels, goal.target).clamp_max(WIDE_ENOUGH) + log_pass
        kept = log_pass[:, None] + passes.raw.log_softmax(1)
        mixed = torch.logaddexp(kept, log_flag[:, None] + others.log_softmax(1))
        return margin(mixed, goal.labels, goal.target)

    return objective


def soft_gate(twin: DefendedTwin, passes: Passes, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (N,) of being flagged and of passing, and the soft corrected logits (N, C)."""
    chosen = (passes.raw / temperature).softmax(1)
    doubt = (1 - chosen).clamp_min(LEAST_DOUBT).log()

    def relative(logits: Tensor) -> Tensor:
        return logits - (chosen * logits).sum(1, keepdim=True)

    def largest(values: Tensor) -> Tensor:
        return temperature * torch.logsumexp((values + doubt) / temperature, 1)

    distance = largest(relative(passes.early))
    disagreement = soft_scale(twin.disagreement_scale, distance[:, None], chosen)[:, 0]
    apart = soft_scale(twin.typicality_scale, twin.distance(passes.features), chosen)[:, 0]
    free = twin.disagreement_tail(disagreement) + twin.typicality_tail(apart)
    change = probability_change(passes.raw, passes.second)
    moved = twin.change_tail(soft_scale(twin.change_scale, change, chosen)[:, 0])
    shifts = soft_scale(twin.response_scale, relative(passes.second) - relative(passes.raw), chosen)
    score = free + twin.response_tail(largest(shifts)) + moved
    log_flag = functional.logsigmoid((score - twin.spec.gate.flag_threshold) / temperature)
    limit = twin.spec.gate.screen_threshold
    if limit is not None:
        screened = (twin.sight(free, passes.images) - limit) / temperature
        log_flag = log_flag + functional.logsigmoid(screened)
        shifts = shifts * screened.sigmoid()[:, None]
    log_pass = (-torch.expm1(log_flag)).clamp_min(torch.finfo(log_flag.dtype).tiny).log()
    return log_flag, log_pass, twin.spec.gate.early_weight * passes.early + shifts + doubt


def soft_scale(scale: TorchScale, values: Tensor, chosen: Tensor) -> Tensor:
    """Standardise (N, K) values by the mean statistics of softly chosen classes (N, C)."""
    weights = chosen if scale.per_class else torch.ones_like(chosen[:, :1])
    return (values - weights @ scale.mean) * (weights @ scale.inverse_std)
