"""What a session tells about its answers, and to whom."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from nip_runtime.result import Prediction


@runtime_checkable
class Observer(Protocol):
    """Told of every answer of a session.

    Called once per ``predict``, after the answer is made and before the caller has it, in whatever thread
    called: so it must be quick, bear several threads at once, and write to none of the arrays.
    """

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        """Take note of an answer of N ≥ 0 rows that took so many seconds."""


@runtime_checkable
class ErrorObserver(Protocol):
    """An observer that also wants to know of the calls that ended without an answer."""

    def observe_error(self, error: Exception, *, duration_s: float) -> None:
        """Take note of the error that the caller is about to get, after so many seconds."""
