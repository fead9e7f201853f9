"""APGD in the L∞ ball: signed steps with momentum, each row's step halved when it gets no further.

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020. Unlike there, rows leave the batch as soon as they have succeeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MOMENTUM = 0.75
INCREASING = 0.75
"""Share of a window's steps that must have gained for the step size to stay."""
FIRST_WINDOW, SHRINK, LAST_WINDOW = 0.22, 0.03, 0.06
"""Windows between two looks at the step size, as shares of all steps: the first, by how much each is
shorter than the one before, and the shortest."""
SAFELY = 1e-2
"""By how much a row must have succeeded to be let go: the file rounds differently from its twin."""

Climb = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Given images (N, *shape) and the indices (N,) of their rows: what is maximised (N,), and by how much each
row has succeeded (N,), positive where it has."""


@dataclass(frozen=True, eq=False)
class Found:
    """The images (N, *shape) that succeeded by most, and by how much they did (N,)."""

    images: Tensor
    success: Tensor

    @property
    def safely(self) -> Tensor:
        """Rows (N,) that need no further work."""
        return self.success > SAFELY


@dataclass(frozen=True, eq=False)
class Ball:
    """All images (N, *shape) within ε of benign ones and within the input's bounds."""

    centre: Tensor
    epsilon: float
    bounds: tuple[float, float]

    def project(self, images: Tensor, rows: Tensor) -> Tensor:
        """The nearest images inside, for the centres of `rows`."""
        centre = self.centre[rows]
        within = torch.minimum(torch.maximum(images, centre - self.epsilon), centre + self.epsilon)
        return within.clamp(*self.bounds)


def windows(steps: int) -> set[int]:
    """The steps after which step sizes are looked at."""
    looks, at, width = set(), 0.0, FIRST_WINDOW
    while at < 1:
        at += width
        looks.add(max(1, round(at * steps)))
        width = max(width - SHRINK, LAST_WINDOW)
    return looks


def ascend(climb: Climb, ball: Ball, start: Tensor, *, steps: int, until: float = SAFELY) -> Found:
    """Climb from `start` (N, *shape) for at most `steps` gradient steps per row.

    Args:
        climb: differentiable in the images; rows are independent.
        ball: what images may be.
        start: within the ball.
        steps: at least 1.
        until: rows that succeeded by more leave the batch.
    """
    climber = Climber(ball, start, steps=steps)
    for step in range(steps + 1):
        rows = (climber.reached <= until).nonzero()[:, 0]
        if not len(rows):
            break
        batch = climber.current[rows]
        value, success, gradient = _differentiate(climb, batch, rows)
        climber.note(rows, batch, value, success)
        if step < steps:
            climber.move(rows, batch, gradient)
    return Found(climber.found, climber.reached)


class Climber:
    """Where N rows are and have been: everything that APGD remembers between two gradients.

    Args:
        ball: what images may be.
        start: (N, *shape).
        steps: how many steps there will be.
    """

    def __init__(self, ball: Ball, start: Tensor, *, steps: int) -> None:
        self.ball = ball
        self.looks = windows(steps)
        self.step = 0
        self.looked_at = 0
        self.current = ball.project(start, torch.arange(len(start), device=start.device))
        self.previous, self.peak, self.found = (self.current.clone() for _ in range(3))
        lowest = torch.full((len(start),), -torch.inf, device=start.device)
        self.reached, self.value, self.highest, self.highest_then = (lowest.clone() for _ in range(4))
        self.length = torch.full_like(lowest, 2 * ball.epsilon)
        self.gains = torch.zeros_like(lowest)
        self.kept = torch.zeros_like(lowest, dtype=torch.bool)

    def note(self, rows: Tensor, batch: Tensor, value: Tensor, success: Tensor) -> None:
        """Remember what some rows have reached."""
        better, higher = success > self.reached[rows], value > self.highest[rows]
        self.found[rows[better]], self.reached[rows[better]] = batch[better], success[better]
        self.peak[rows[higher]], self.highest[rows[higher]] = batch[higher], value[higher]
        self.gains[rows] += (value > self.value[rows]).float()
        self.value[rows] = value

    def move(self, rows: Tensor, batch: Tensor, gradient: Tensor) -> None:
        """Take one step, and look at the step sizes where one is due."""
        size = self.length[rows].reshape(-1, *(1,) * (batch.ndim - 1))
        ahead = self.ball.project(batch + size * gradient.sign(), rows)
        share = MOMENTUM if self.step else 1.0
        moved = batch + share * (ahead - batch) + (1 - share) * (batch - self.previous[rows])
        self.previous[rows], self.current[rows] = batch, self.ball.project(moved, rows)
        self.step += 1
        if self.step in self.looks:
            self.look()

    def look(self) -> None:
        """Halve the step of rows that gained too rarely or got no higher; send them back to their peak."""
        stuck = self.kept & (self.highest <= self.highest_then)
        halve = (self.gains < INCREASING * (self.step - self.looked_at)) | stuck
        self.kept, self.highest_then = ~halve, self.highest.clone()
        self.length[halve] /= 2
        self.current[halve], self.previous[halve] = self.peak[halve], self.peak[halve]
        self.gains, self.looked_at = torch.zeros_like(self.length), self.step


def _differentiate(climb: Climb, batch: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value (N,), success (N,) and gradient (N, *shape); what is not a number counts for nothing."""
    with torch.enable_grad():
        images = batch.detach().requires_grad_(True)
        value, success = climb(images, rows)
        (gradient,) = torch.autograd.grad(value.sum(), images)
    return value.detach().nan_to_num(-torch.inf), success.detach(), gradient.nan_to_num(0, 0, 0)
