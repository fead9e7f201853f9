"""What a forked child does with observers that it inherits."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Restarting(Protocol):
    """Holds a lock and counts that belong to one process."""

    def restart(self) -> None:
        """Begin anew: a new lock, counts at their start."""


_alive: WeakSet[Restarting] = WeakSet()


def restart_in_children(observer: Restarting) -> None:
    """Restart an observer in every child that this process forks.

    Another thread may hold its lock at the fork; in the child nobody would ever release it. And counts that
    went on from the parent's would be in the sum of both processes twice.
    """
    _alive.add(observer)


def _restart_all() -> None:
    for observer in list(_alive):
        observer.restart()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_restart_all)
