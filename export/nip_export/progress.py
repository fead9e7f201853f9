"""How long work shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Called with the amount of work done since the last call."""

Progress = Callable[[str, int], Advance]
"""Called at the start of a stage with its title and its amount of work; gives the stage's `Advance`."""


def silent(stage: str, total: int) -> Advance:
    """Progress that nobody looks at."""
    return lambda done: None


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars with time left, on stderr; without a terminal, one line per stage."""
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
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:

        def begin(stage: str, total: int) -> Advance:
            if not console.is_terminal:
                console.print(f"{stage} …", highlight=False)
            task = bars.add_task(stage, total=total)
            return lambda done: bars.advance(task, done)

        yield begin
