"""Drives shards through an executor: as many at once as it can take, each until it is done or given up."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Final, Protocol

from nip_runtime.errors import DeviceError, NipError
from nip_runtime.operate.bulk.engines import Engine, explain
from nip_runtime.operate.bulk.parts import Counts
from nip_runtime.operate.bulk.plan import Shard
from nip_runtime.operate.bulk.shard import Job, run_shard
from nip_runtime.support.dependencies import missing

_log = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_HOPELESS: Final = 20
"""After so many failed attempts before any succeeded, the run ends: what fails them would fail all."""


@dataclass(frozen=True)
class Failure:
    """A shard that was given up.

    Attributes:
        shard: which.
        why: what its last attempt said.
        attempts: how many there were.
    """

    shard: Shard
    why: str
    attempts: int

    def __str__(self) -> str:
        return f"{self.shard} failed {self.attempts} times, at last: {self.why}"


class Watcher(Protocol):
    """Is told how far the run is."""

    def done(self, counts: Counts) -> None:
        """A part is there."""

    def failed(self, failure: Failure) -> None:
        """A shard was given up."""

    def tick(self, *, running: int, slots: int) -> None:
        """Time has passed."""


@dataclass(frozen=True)
class _Attempt:
    shard: Shard
    number: int


def drive(
    engine: Engine, job: Job, shards: Iterable[Shard], watcher: Watcher, confirm: Callable[[Shard], None]
) -> list[Failure]:
    """Run every shard, again if it fails or its worker dies, and return those that were given up.

    A shard that fails again waits until the others had their turn, so a poisonous one harms few.

    Args:
        engine: where.
        job: what they share.
        shards: those to do.
        watcher: is told.
        confirm: looks whether a part that a worker reports is there; raises if it is not.

    Raises:
        NipError: what would fail every shard: no model, no device, no room in the folder, no scheduler, a
            package that workers lack, or nothing but failures.
    """
    waiting = deque(_Attempt(shard, 1) for shard in shards)
    running: dict[Future[Counts], _Attempt] = {}
    failures: list[Failure] = []
    setbacks, is_hopeful = 0, False
    while waiting or running:
        slots = engine.slots()
        while waiting and len(running) < max(slots, 1):
            attempt = waiting.popleft()
            running[engine.executor.submit(run_shard, job, attempt.shard)] = attempt
        finished, _ = wait(running, timeout=_TICK_S, return_when=FIRST_COMPLETED)
        for future in finished:
            attempt = running.pop(future)
            counts = _result(future, attempt)
            if isinstance(counts, Counts):
                confirm(attempt.shard)
                is_hopeful = True
                watcher.done(counts)
                continue
            setbacks += 1
            if attempt.number < engine.attempts:
                waiting.append(_Attempt(attempt.shard, attempt.number + 1))
            else:
                failures.append(Failure(attempt.shard, counts, attempt.number))
                watcher.failed(failures[-1])
            if setbacks == _HOPELESS and not is_hopeful:
                raise DeviceError.mismatch(
                    expected="shards that can be done",
                    got=f"{_HOPELESS} failures and no success, the last: {counts}",
                    fix="mend the cause, and run the same command again",
                )
        watcher.tick(running=len(running), slots=slots)
    return failures


def _result(future: Future[Counts], attempt: _Attempt) -> Counts | str:
    """What the part holds, or why it failed."""
    if future.cancelled():  # not by us: the scheduler is gone, and `slots` will say so
        return "the engine dropped it"
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, NipError):
        raise error
    if isinstance(error, ModuleNotFoundError):
        raise missing(error) from error
    why = explain(error)
    _log.info("%s, attempt %d: %s", attempt.shard, attempt.number, why)
    return why
