"""Both passes of the defence as an adaptive attacker reads them, and how far an answer is from being wrong.

The twin returns what the file returns. An attacker also wants what the file keeps to itself: the corrected
answer of rows that are not flagged, the shifts of rows that are not screened, and gradients where the graph
has none (clip, choice of the hypothesis). Values are those of the twin; only gradients differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nip_export.defence.decision import DISBELIEF
from nip_export.network import pool_activation
from nip_export.verify import DefendedTwin
from nip_export.verify.twin import probability_change
from nip_runtime.file.manifest import Policy


@dataclass(frozen=True, eq=False)
class Passes:
    """What both network passes give for N rows.

    Attributes:
        raw: logits (N, C) of pass 1.
        early: early evidence (N, C), log-probabilities.
        second: logits (N, C) of pass 2, on every row.
        features: pooled features (N, D) of pass 1.
        tapped: pooled activations (N, D) of pass 1, one per read-out and the features last.
        images: (N, *shape), as given.
    """

    raw: Tensor
    early: Tensor
    second: Tensor
    features: Tensor
    tapped: tuple[Tensor, ...]
    images: Tensor


@dataclass(frozen=True, eq=False)
class GateReading:
    """What the screen looks at (N,), the score (N,) as if every row were screened, and the shifts (N, C)."""

    sight: Tensor
    score: Tensor
    shifts: Tensor


def read_passes(twin: DefendedTwin, images: Tensor, *, straight_through: bool = False) -> Passes:
    """Run both passes on images (N, *shape).

    Args:
        twin: the defence.
        images: within the bounds.
        straight_through: let gradients through the clip, and through the choice of the hypothesis that
            policy ``always`` perturbs for, as though it were softmax-weighted (BPDA: Athalye et al.,
            "Obfuscated Gradients Give a False Sense of Security", ICML 2018).
    """
    raw, *activations = twin.network(images)
    by_tap = dict(zip(twin.network.taps, activations, strict=True))
    early = twin.evidence(raw, by_tap)
    tapped = tuple(
        pool_activation(by_tap[readout.tap], kind=readout.kind, cells=readout.cells)
        for readout in twin.spec.readouts
    )
    features = twin.features(by_tap)
    added = None
    if twin.spec.policy is Policy.ALWAYS:
        added = twin.bank[early.argmax(1)]
        if straight_through:
            soft = torch.tensordot(early.softmax(1), twin.bank, dims=1)
            added = added + (soft - soft.detach())
    moved = twin.look_again(images, added)
    clipped = moved.clamp(*twin.spec.bounds)
    if straight_through:
        # Adds exactly 0, so that values stay those of the graph to the last bit.
        clipped = clipped.detach() + (moved - moved.detach())
    return Passes(raw, early, twin.network(clipped)[0], features, (*tapped, features), images)


def mask_of(classes: Tensor, count: int) -> Tensor:
    """(N, C) bool: true where a column is the row's class."""
    return nn.functional.one_hot(classes, count).bool()


def margin(logits: Tensor, labels: Tensor, target: Tensor | None = None) -> Tensor:
    """How far (N,) a wrong class, the best one or `target` (N,), stands above the true one."""
    if target is None:
        rival = logits.masked_fill(mask_of(labels, logits.shape[1]), -torch.inf).amax(1)
    else:
        rival = logits.gather(1, target[:, None])[:, 0]
    return rival - logits.gather(1, labels[:, None])[:, 0]


def read_gate(twin: DefendedTwin, passes: Passes, predicted: Tensor) -> GateReading:
    """The gate's statistics if pass 1 had predicted the classes `predicted` (N,)."""

    def relative(logits: Tensor) -> Tensor:
        return logits - logits.gather(1, predicted[:, None])

    is_predicted = mask_of(predicted, passes.raw.shape[1])
    distance = relative(passes.early).masked_fill(is_predicted, -torch.inf).amax(1, keepdim=True)
    free = twin.disagreement_tail(twin.disagreement_scale(distance, predicted)[:, 0]) + typicality(
        twin, passes, predicted
    )
    shifts = twin.response_scale(relative(passes.second) - relative(passes.raw), predicted)
    response = twin.response_tail(shifts.masked_fill(is_predicted, -torch.inf).amax(1))
    change = probability_change(passes.raw, passes.second)
    response = response + twin.change_tail(twin.change_scale(change, predicted)[:, 0])
    return GateReading(twin.sight(free, passes.images), free + response, shifts)


def typicality(twin: DefendedTwin, passes: Passes, predicted: Tensor) -> Tensor:
    """The test of typicality (N,), if pass 1 had predicted the classes `predicted` (N,)."""
    distance = twin.typicality_scale(twin.distance(passes.features), predicted)
    result: Tensor = twin.typicality_tail(distance[:, 0])
    return result


def corrected(twin: DefendedTwin, passes: Passes, gate: GateReading, predicted: Tensor) -> Tensor:
    """Log-probabilities (N, C) that a flagged row of predicted class (N,) is answered with by ``guarded``."""
    is_predicted = mask_of(predicted, passes.raw.shape[1])
    others = twin.spec.gate.early_weight * passes.early + gate.shifts
    lowest = others.masked_fill(is_predicted, torch.inf).amin(1, keepdim=True) - DISBELIEF
    return torch.where(is_predicted, lowest, others).log_softmax(1)


def excess(twin: DefendedTwin, gate: GateReading) -> Tensor:
    """How far (N,) a row is inside the flagged region: positive if flagged, negative if let pass."""
    over = gate.score - twin.spec.gate.flag_threshold
    limit = twin.spec.gate.screen_threshold
    return over if limit is None else torch.minimum(over, gate.sight - limit)


def success(twin: DefendedTwin, passes: Passes, labels: Tensor) -> Tensor:
    """How far (N,) the attack is beyond its goal: positive where it succeeded, in logits or gate units.

    It succeeded where the defended answer misses `labels`; under policy ``detect``, which answers everything
    with the raw logits, where the raw answer misses them *and* the row is not flagged. NaN counts as failure.
    """
    policy = twin.spec.policy
    if policy is Policy.ALWAYS:
        return margin(passes.second, labels).nan_to_num(-torch.inf)
    predicted = passes.raw.argmax(1)
    gate = read_gate(twin, passes, predicted)
    over, plain = excess(twin, gate), margin(passes.raw, labels)
    passed = torch.minimum(plain, -over)
    if policy is Policy.DETECT:
        return passed.nan_to_num(-torch.inf)
    answer = margin(corrected(twin, passes, gate, predicted), labels)
    routes = torch.stack([passed, torch.minimum(answer, over), torch.minimum(plain, answer)])
    return routes.amax(0).nan_to_num(-torch.inf)
