"""How long work shows how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

Advance = Callable[[int], None]
"""Called with the amount of work done since the last call."""

Progress = Callable[[str, int], Advance]
"""Called at the start of a stage with its title and its amount of work; gives the stage's `Advance`."""


def silent(stage: str, total: int) -> Advance:
    """Progress that nobody looks at."""
    return lambda done: None


LINE_EVERY_S: Final = 15.0
"""Without a terminal: seconds between two lines of a stage."""


def progress_lines(write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Lines for logs: one when a stage begins, and in long stages how far it is and what is left of it.

    Args:
        write: takes a line.
        clock: seconds.
    """

    def begin(stage: str, total: int) -> Advance:
        write(f"{stage} …")
        began = told = clock()
        done = 0

        def advance(more: int) -> None:
            nonlocal done, told
            done, now = done + more, clock()
            if now - told < LINE_EVERY_S or not 0 < done < total:
                return
            told = now
            left = (now - began) * (total - done) / done
            write(f"{stage}: {done / total:.0%} of {total}, about {duration(left)} left")

        return advance

    return begin


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars with time left, on stderr; without a terminal, lines as of :func:`progress_lines`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield progress_lines(lambda line: console.print(line, highlight=False, soft_wrap=True))
        return
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:

        def begin(stage: str, total: int) -> Advance:
            task = bars.add_task(stage, total=total)
            return lambda done: bars.advance(task, done)

        yield begin
