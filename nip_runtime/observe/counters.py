"""Counts rows, flags, reasons, errors and durations; needs no other package."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from typing import Any

import numpy as np

from nip_runtime.observe.forks import restart_in_children
from nip_runtime.observe.latency import BOUNDS_S, Latency
from nip_runtime.observe.totals import Totals
from nip_runtime.result import Prediction, Reason


class Counters:
    """An observer that counts; several sessions may share one, and any thread may read it.

    Pickled, or in a forked child, it counts from 0: send each process's :meth:`snapshot` to one place and add
    them there.
    """

    def __init__(self) -> None:
        self.restart()
        restart_in_children(self)

    def restart(self) -> None:
        """Count from 0."""
        self._lock = threading.Lock()
        self._passed = self._corrected = self._confirmed = self._detected = self._refused = 0
        self._flagged = 0
        self._errors: Counter[str] = Counter()
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        """Count an answer."""
        reasons = prediction.reason
        rows = len(reasons)
        bucket = bisect_left(BOUNDS_S, duration_s)
        # Looked at outside the lock. Nearly every row of nearly every answer has passed: that is asked first.
        passed = reasons.count(Reason.PASSED)
        if passed == rows:
            with self._lock:
                self._buckets[bucket] += 1
                self._sum_s += duration_s
                self._passed += rows
            return
        corrected, confirmed = reasons.count(Reason.CORRECTED), reasons.count(Reason.CONFIRMED)
        detected, refused = reasons.count(Reason.DETECTED), len(prediction.refused)
        flagged = int(np.count_nonzero(prediction.flagged)) - refused
        with self._lock:
            self._buckets[bucket] += 1
            self._sum_s += duration_s
            self._passed += passed
            self._corrected += corrected
            self._confirmed += confirmed
            self._detected += detected
            self._refused += refused
            self._flagged += flagged

    def observe_error(self, error: Exception, *, duration_s: float) -> None:
        """Count a call that ended without an answer; its duration is not among the latencies."""
        with self._lock:
            self._errors[type(error).__name__] += 1

    def snapshot(self) -> Totals:
        """What was counted so far, all of it at one moment."""
        with self._lock:
            return Totals(
                passed=self._passed,
                corrected=self._corrected,
                confirmed=self._confirmed,
                detected=self._detected,
                refused=self._refused,
                flagged=self._flagged,
                errors=tuple(sorted(self._errors.items())),
                latency=Latency(counts=tuple(self._buckets), sum_s=self._sum_s),
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
