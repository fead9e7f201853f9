"""Observers that cannot lose an answer, and several as one."""

from __future__ import annotations

import logging
from typing import Any, Self

from nip_runtime.errors import InputError
from nip_runtime.observe.protocol import ErrorObserver, Observer
from nip_runtime.result import Prediction

_log = logging.getLogger(__name__)


class Guarded:
    """Another observer whose failures are logged, each kind once, and go no further.

    A kind is the class of the error. Pickled, it guards the pickled observer, and has logged nothing yet.

    Args:
        observer: whom to guard.

    Raises:
        InputError: if it has no method ``observe``.
    """

    def __init__(self, observer: Observer) -> None:
        given: object = observer
        if isinstance(given, type) or not isinstance(given, Observer):
            raise InputError.mismatch(
                expected="an observer, which has a method observe(prediction, *, duration_s)",
                got=f"the class {given.__name__}" if isinstance(given, type) else repr(given),
                fix="pass one, or several as compose(a, b)",
            )
        self._observer = observer
        self._logged: set[type[Exception]] = set()

    @property
    def observer(self) -> Observer:
        """The guarded one."""
        return self._observer

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        """Pass an answer on; never raises an :class:`Exception`."""
        try:
            self._observer.observe(prediction, duration_s=duration_s)
        except Exception as error:
            self._log_once(error)

    def observe_error(self, error: Exception, *, duration_s: float) -> None:
        """Pass an error on to an observer that takes errors; never raises an :class:`Exception`."""
        if isinstance(self._observer, ErrorObserver):
            try:
                self._observer.observe_error(error, duration_s=duration_s)
            except Exception as failure:
                self._log_once(failure)

    def _log_once(self, error: Exception) -> None:
        if type(error) in self._logged:
            return
        self._logged.add(type(error))
        _log.error(
            "observer %s failed; answers are unaffected, further failures of this kind are not logged",
            type(self._observer).__name__,
            exc_info=error,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Guarded, (self._observer,)


class Composed:
    """Several observers as one, each guarded on its own: the failure of one keeps nothing from the others."""

    def __init__(self, *observers: Observer) -> None:
        self._parts = tuple(guarded(observer) for observer in observers)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Those that were given, in order."""
        return tuple(part.observer for part in self._parts)

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        """Pass an answer on to each, in order."""
        for part in self._parts:
            part.observe(prediction, duration_s=duration_s)

    def observe_error(self, error: Exception, *, duration_s: float) -> None:
        """Pass an error on to those that take errors, in order."""
        for part in self._parts:
            part.observe_error(error, duration_s=duration_s)

    def __reduce__(self) -> tuple[type[Self], tuple[Observer, ...]]:
        return type(self), self.observers


def guarded(observer: Observer) -> Guarded:
    """The observer behind a guard; one that is guarded already, as it is.

    Raises:
        InputError: if it has no method ``observe``.
    """
    return observer if isinstance(observer, Guarded) else Guarded(observer)


def compose(*observers: Observer) -> Composed:
    """Several observers as one, told in this order.

    Raises:
        InputError: if one has no method ``observe``.
    """
    return Composed(*observers)
