"""Lets runs in daemon threads finish before the interpreter goes.

Python ends daemon threads where they next ask for its lock. Inside onnxruntime that is within C++ code that
may not be left in this way: the whole process aborts, with its exit code lost.
Source: https://docs.python.org/3/c-api/init.html#c.PyEval_RestoreThread
"""

from __future__ import annotations

import atexit
import os
import threading
from types import TracebackType
from typing import Final

_PATIENCE_S: Final = 60.0
"""For a run that does not come back: then the process ends all the same."""


class Inside:
    """``with inside:`` around every call that computes in onnxruntime."""

    def __init__(self) -> None:
        self._begin()
        atexit.register(self.leave)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)  # the runs of other threads stay in the parent

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._count = 0
        self._leaving = False

    def leave(self) -> None:
        """Wait for runs in progress, and let daemon threads begin no other."""
        with self._changed:
            self._leaving = True
            self._changed.wait_for(lambda: self._count == 0, timeout=_PATIENCE_S)

    def __enter__(self) -> None:
        with self._lock:  # the condition's own, entered without Python code
            # Other threads may still run: functions that the user has registered for the end, for one.
            while self._leaving and threading.current_thread().daemon:
                self._changed.wait()  # without end: nobody is left to take the answer
            self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._count -= 1
            if self._leaving:
                self._changed.notify_all()


inside: Final = Inside()
"""Of this process."""
