"""Runs one adaptive attack: start after start on the rows that still stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from nip_evaluate.adaptive.ascent import Ball, Found, ascend
from nip_evaluate.adaptive.objectives import Goal, Objective
from nip_evaluate.adaptive.passes import margin, mask_of, read_passes, success
from nip_export.network import evaluation_mode
from nip_export.support.progress import Advance
from nip_export.verify import DefendedTwin
from nip_runtime.errors import InputError

BATCH = 100


class Start(StrEnum):
    """Where an ascent begins."""

    RANDOM = "uniform noise within ε"
    UNDEFENDED = "the undefended network's own PGD adversarials"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One ascent over the rows that all attempts before it left.

    Attributes:
        objective: what is maximised.
        start: where it begins.
        rank: which wrong class to aim at, counted from the one likeliest on the benign image; None: any.
        straight_through: whether gradients pass clip and choice of hypothesis (BPDA).
    """

    objective: Objective
    start: Start = Start.RANDOM
    rank: int | None = None
    straight_through: bool = True


@dataclass(frozen=True, eq=False)
class Aims:
    """What N benign images suggest to an attacker.

    Attributes:
        wrong: (N, C − 1) wrong classes, the one that logits and early evidence find likeliest first.
        tapped: pooled tapped activations (N, D) of the images, one per read-out.
        labels: (N,) true classes.
        success: (N,) how far the images are beyond the attack's goal as they are.
    """

    wrong: Tensor
    tapped: tuple[Tensor, ...]
    labels: Tensor
    success: Tensor

    def goal(self, rows: Tensor, rank: int | None) -> Goal:
        """The goal of an attempt for some rows."""
        ranked = self.wrong[rows, min(rank or 0, self.wrong.shape[1] - 1)]
        references = self._references(rows, ranked)
        tapped = tuple(each[references] for each in self.tapped)
        return Goal(self.labels[rows], None if rank is None else ranked, tapped)

    def _references(self, rows: Tensor, wanted: Tensor) -> Tensor:
        """The image (N,) nearest in tapped activations among those of the wanted class; any other if none."""
        apart = torch.stack([torch.cdist(each[rows], each).square() for each in self.tapped]).sum(0)
        far = apart.max() + 1
        apart = apart + far * (self.labels[None] != wanted[:, None])
        return (apart + 2 * far * (self.labels[None] == self.labels[rows, None])).argmin(1)


def attack(
    victim: nn.Module,
    images: Tensor,
    labels: Tensor,
    seed: int,
    advance: Advance,
    *,
    attempts: tuple[Attempt, ...],
    epsilon: float,
    steps: int,
) -> Tensor:
    """Attack the whole defence; of every row the image that came furthest is kept.

    Args:
        victim: the defence's torch twin.
        images: (N, *shape) float32 within the bounds, of any rank from 2.
        labels: (N,) int64, true classes.
        seed: of the random starts.
        advance: called with the number of images done.
        attempts: tried in order, each on the rows not yet answered wrongly.
        epsilon: largest change of an input element.
        steps: gradient steps per attempt.

    Returns:
        (N, *shape) float32, within ε of `images` and within the bounds.

    Raises:
        InputError: the victim is not a twin.
    """
    if not isinstance(victim, DefendedTwin):
        raise InputError.mismatch(
            expected="the defence's DefendedTwin as the attacked module",
            got=type(victim).__name__,
            fix="pass DefendedTwin(report.network, report.spec)",
        )
    generator = torch.Generator().manual_seed(seed)
    noises = [(torch.rand(images.shape, generator=generator) * 2 - 1) * epsilon for _ in attempts]
    parts = []
    with evaluation_mode(victim):
        aims = look_at(victim, images, labels)
        for rows in torch.split(torch.arange(len(images), device=images.device), BATCH):
            ball = Ball(images[rows], epsilon, victim.spec.bounds)
            starts = [ball.centre + noise.to(images.device)[rows] for noise in noises]
            parts.append(_attack_rows(victim, ball, rows, aims, attempts, starts, steps, advance))
    return torch.cat(parts) if parts else images.clone()


def _attack_rows(
    twin: DefendedTwin,
    ball: Ball,
    rows: Tensor,
    aims: Aims,
    attempts: tuple[Attempt, ...],
    starts: list[Tensor],
    steps: int,
    advance: Advance,
) -> Tensor:
    best = Found(ball.centre.clone(), aims.success[rows].clone())
    advance(int(best.safely.sum()))
    for attempt, start in zip(attempts, starts, strict=True):
        left = (~best.safely).nonzero()[:, 0]
        if not len(left):
            break
        goal, own = aims.goal(rows[left], attempt.rank), Ball(ball.centre[left], ball.epsilon, ball.bounds)
        begin = start[left]
        if attempt.start is Start.UNDEFENDED:
            begin = attack_undefended(twin, own, begin, goal, steps=steps)
        found = _attempt(twin, attempt, own, begin, goal, steps=steps)
        further = found.success > best.success[left]
        best.images[left[further]], best.success[left[further]] = (
            found.images[further],
            found.success[further],
        )
        advance(len(left) - int((~best.safely).sum()))
    advance(int((~best.safely).sum()))
    return best.images


def _attempt(
    twin: DefendedTwin, attempt: Attempt, ball: Ball, start: Tensor, goal: Goal, *, steps: int
) -> Found:
    def climb(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        passes = read_passes(twin, images, straight_through=attempt.straight_through)
        wanted = goal.take(rows)
        return attempt.objective(twin, passes, wanted), success(twin, passes, wanted.labels)

    return ascend(climb, ball, start, steps=steps)


def attack_undefended(twin: DefendedTwin, ball: Ball, start: Tensor, goal: Goal, *, steps: int) -> Tensor:
    """The images (N, *shape) within the ball that the backbone alone gets most wrong: no gate, one pass."""

    def climb(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        wanted = goal.take(rows)
        value = margin(twin.network(images)[0], wanted.labels, wanted.target)
        return value, value.detach()

    return ascend(climb, ball, start, steps=steps, until=torch.inf).images


@torch.no_grad()
def look_at(twin: DefendedTwin, images: Tensor, labels: Tensor) -> Aims:
    """What the defence makes of benign images."""
    wrong, tapped, beyond = [], [], []
    for part, truth in zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True):
        passes = read_passes(twin, part)
        likely = passes.raw.log_softmax(1) + passes.early
        classes = likely.shape[1]
        likely = likely.masked_fill(mask_of(truth, classes), -torch.inf)
        wrong.append(likely.sort(dim=1, descending=True, stable=True).indices[:, : classes - 1])
        tapped.append(passes.tapped)
        beyond.append(success(twin, passes, truth))
    pooled = tuple(torch.cat(each) for each in zip(*tapped, strict=True))
    return Aims(torch.cat(wrong), pooled, labels, torch.cat(beyond))
