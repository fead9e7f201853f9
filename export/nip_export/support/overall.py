"""One line for a whole export: the share that is done and the time that is left, reading included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nip_export.support.progress import LINE_EVERY_S, Advance, duration

_UNKNOWN: Final = 1.0


@dataclass(frozen=True)
class Stage:
    """Work that is to come.

    Attributes:
        title: as the stage will call itself.
        total: its amount of work.
        cost: of one piece of it, guessed: in passes of one image through the network.
    """

    title: str
    total: int
    cost: float


Show = Callable[[str, float, float | None], None]
"""Called with the stage's title, the share done in [0, 1] and the seconds left, None while unknown."""


class Overall:
    """How far the whole is, as a :data:`~nip_export.support.progress.Progress` over all of its stages.

    The time that is left follows from the pace of the running stage and, for those to come, from their
    guessed costs at the pace so far.

    Args:
        show: what to tell.
        clock: seconds.
    """

    def __init__(self, show: Show, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._show, self._clock = show, clock
        self._began = clock()
        self._coming: list[Stage] = []
        self._stage, self._stage_began, self._done = Stage("", 0, _UNKNOWN), self._began, 0
        self._spent, self._paid = 0.0, 0.0
        self._share = 0.0

    def expect(self, stages: Sequence[Stage]) -> None:
        """Say what is to come after the running stage, in order; what was said before is forgotten."""
        self._coming = list(stages)

    def __call__(self, title: str, total: int) -> Advance:
        """Begin a stage. Stages that were to come before it are taken for left out."""
        self._finish()
        titles = [stage.title for stage in self._coming]
        cost = _UNKNOWN
        if title in titles:
            place = titles.index(title)
            cost, self._coming = self._coming[place].cost, self._coming[place + 1 :]
        self._stage, self._stage_began, self._done = Stage(title, total, cost), self._clock(), 0
        self._tell()
        return self._advance

    def finish(self) -> None:
        """Everything is done."""
        self._finish()
        self._coming, self._stage = [], Stage("", 0, _UNKNOWN)

    def _advance(self, done: int) -> None:
        self._done += done
        self._tell()

    def _finish(self) -> None:
        self._spent += self._clock() - self._stage_began
        self._paid += self._stage.total * self._stage.cost

    def _tell(self) -> None:
        left = self._left()
        elapsed = self._clock() - self._began
        if left is not None and elapsed + left > 0:
            self._share = max(self._share, elapsed / (elapsed + left))  # never goes back
        self._show(self._stage.title, self._share, left)

    def _left(self) -> float | None:
        stage = self._stage
        spent, done = self._clock() - self._stage_began, self._done
        rest = max(stage.total - done, 0)
        price = self._spent + spent
        paid = self._paid + done * stage.cost
        if paid <= 0 or price <= 0:
            return None
        pace = price / paid  # seconds for one pass of an image
        own = spent / done if done else pace * stage.cost
        return rest * own + pace * sum(coming.total * coming.cost for coming in self._coming)


def told(title: str, share: float, left: float | None) -> str:
    """A line about the whole: what runs, percent done, time left."""
    when = "" if left is None else f", about {duration(left)} left"
    return f"{share:4.0%} {title}{when}"


def overall_lines(write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> Overall:
    """Lines for logs: one when a stage begins, and in long stages one every quarter of a minute."""
    said = ""
    when = clock()

    def show(title: str, share: float, left: float | None) -> None:
        nonlocal said, when
        if title != said or clock() - when >= LINE_EVERY_S:
            said, when = title, clock()
            write(told(title, share, left))

    return Overall(show, clock=clock)


@contextmanager
def overall_progress() -> Iterator[Overall]:
    """One bar on stderr; without a terminal, lines as of :func:`overall_lines`."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield overall_lines(lambda line: console.print(line, highlight=False, soft_wrap=True))
        return
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("", total=1.0, left="")

        def show(title: str, share: float, left: float | None) -> None:
            rest = "" if left is None else f"about {duration(left)} left"
            bars.update(task, description=title, completed=share, left=rest)

        overall = Overall(show)
        yield overall
        overall.finish()
        bars.update(task, description="Done", completed=1.0, left="")
