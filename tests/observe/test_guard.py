from __future__ import annotations

import logging
import pickle

import pytest

from nip_runtime.errors import InputError
from nip_runtime.observe import Counters, Observer, compose, guarded
from nip_runtime.result import Prediction, Reason
from tests.observe.answers import answer


class Failing:
    """Raises one error after another, and counts how often it was asked."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.asked = errors, 0

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        self.asked += 1
        raise self.errors[(self.asked - 1) % len(self.errors)]

    def observe_error(self, error: Exception, *, duration_s: float) -> None:
        raise LookupError("on an error")


def test_every_kind_of_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing(ValueError("one"), ZeroDivisionError("two"))
    observer = guarded(failing)
    for _ in range(6):
        observer.observe(answer([Reason.PASSED]), duration_s=0.1)
        observer.observe_error(InputError("no"), duration_s=0.1)
    assert failing.asked == 6
    kinds = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert kinds == [ValueError, LookupError, ZeroDivisionError]
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert caplog.messages[0].startswith("observer Failing failed; answers are unaffected")


def test_a_failing_observer_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    before, after = Counters(), Counters()
    observer = compose(before, Failing(OSError("disk")), after)
    for _ in range(3):
        observer.observe(answer([Reason.PASSED]), duration_s=0.1)
        observer.observe_error(InputError("no"), duration_s=0.1)
    assert before.snapshot() == after.snapshot()
    assert after.snapshot().rows == 3
    assert after.snapshot().errors == (("InputError", 3),)
    assert len(caplog.records) == 2  # OSError and LookupError


def test_an_interrupt_passes() -> None:
    class Interrupted:
        def observe(self, prediction: Prediction, *, duration_s: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(Interrupted()).observe(answer([]), duration_s=0.1)


def test_an_observer_need_not_care_for_errors() -> None:
    class Plain:
        def observe(self, prediction: Prediction, *, duration_s: float) -> None: ...

    guarded(Plain()).observe_error(ValueError(), duration_s=0.1)


def test_one_guard_is_enough() -> None:
    once = guarded(Counters())
    assert guarded(once) is once


@pytest.mark.parametrize(("given", "got"), [(print, "built-in function print"), (Counters, "class Counters")])
def test_refuses_what_cannot_observe(given: Observer, got: str) -> None:
    for take in (guarded, compose):
        with pytest.raises(InputError, match=rf"which has a method observe\(.*got .*{got}.*; pass one"):
            take(given)


def test_a_guard_pickles_with_its_observer() -> None:
    observer = compose(Counters(), compose(Counters()))
    copy = pickle.loads(pickle.dumps(guarded(observer)))
    copy.observe(answer([Reason.PASSED]), duration_s=0.1)
    first, second = copy.observer.observers
    assert first.snapshot().rows == 1
    assert second.observers[0].snapshot().rows == 1
