"""Warns when the rate of flagged rows leaves the interval expected of benign traffic."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.rates import Rate
from nip_runtime.observe.alarm import Alarm, Direction, DriftState
from nip_runtime.observe.detector import FALLS, RISES, Detector
from nip_runtime.observe.expected import Expected, Learned
from nip_runtime.observe.forks import restart_in_children
from nip_runtime.result import Prediction
from nip_runtime.support.arguments import check_share, check_whole

_log = logging.getLogger(__name__)


class DriftWatch:
    """An observer that tests, after every row, whether the flag rate is still within the expected interval.

    The null hypothesis: given all rows before, the probability that the next one is flagged lies within
    the interval. It holds for independent benign rows, and it does not for frames of one video or repeated
    images, which are flagged together: watch one row of each instead (:meth:`see`). While it holds, a false
    alarm comes within the first ``horizon_rows`` rows after the start, or after an alarm, with a probability
    of at most ``alpha``, and ``horizon_rows / alpha`` rows or more apart on average. The test is an
    e-detector, see :mod:`nip_runtime.observe.detector`; it starts anew after an alarm.

    The first alarm is logged as a WARNING. While the drift lasts, alarms go on; all are counted, and the
    second, fourth, eighth … is logged, until ``horizon_rows`` rows have passed without one.

    Several sessions and threads may share a watch. Pickled, or in a forked child, it starts anew.

    Args:
        expected: the interval, or how to learn it.
        alpha: probability of a false alarm, see above.
        horizon_rows: rows that it is stated for.

    Raises:
        InputError: if ``expected`` is neither, ``alpha`` no share between 0 and 1, or ``horizon_rows`` no
            positive whole number.
    """

    def __init__(
        self, expected: Expected | Learned, *, alpha: float = 0.01, horizon_rows: int = 100_000
    ) -> None:
        if not isinstance(expected, Expected | Learned):
            raise InputError.mismatch(
                expected="an Expected or a Learned rate",
                got=repr(expected),
                fix="pass for instance Expected.from_manifest(session.manifest)",
            )
        check_share("alpha", alpha)
        check_whole("horizon_rows", horizon_rows)
        self._given, self._alpha, self._horizon_rows = expected, alpha, horizon_rows
        self.restart()
        restart_in_children(self)

    def restart(self) -> None:
        """Start anew: no rows seen, no alarm; a learned interval is learned again."""
        self._lock = threading.Lock()
        self._rows = self._flagged = 0
        self._alarms = {direction: 0 for direction in Direction}
        self._last: Alarm | None = None
        self._in_episode = 0
        self._expected: Expected | None = None
        self._detectors: dict[Direction, Detector] = {}
        if isinstance(self._given, Expected):
            self._watch(self._given)

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        """Watch the flags of an answer; refused rows never reached the gate and are left out."""
        flagged = prediction.flagged
        if prediction.refused:
            flagged = np.delete(flagged, [refused.row for refused in prediction.refused])
        self.see(flagged)

    def see(self, flagged: NDArray[Any] | Sequence[bool]) -> tuple[Alarm, ...]:
        """Watch the flags (N,) of further rows, in order; returns the alarms that they raised.

        For answers that no observer sees: those of ``predict_tensor``, or of a server.

        Raises:
            InputError: if these are no flags (N,): other shapes, or numbers such as suspicions.
        """
        flags = np.asarray(flagged)
        if flags.ndim != 1 or (flags.dtype != np.bool_ and len(flags)):
            raise InputError.mismatch(
                expected="flags (N,) of type bool",
                got=f"{flags.dtype} {flags.shape}",
                fix="pass `flagged` of an answer; what a server gives as (N, 1), as [:, 0]",
            )
        rows = len(flags)
        positions: list[int] = np.flatnonzero(flags).tolist()
        raised: list[tuple[Alarm, bool]] = []
        with self._lock:
            start = self._learn(positions, rows)
            for position in positions:
                if position >= start:
                    self._take(position - start, True, raised)
                    start = position + 1
            self._take(rows - start, False, raised)
        for alarm, is_loud in raised:
            if is_loud:
                _log.warning("%s", alarm)
        return tuple(alarm for alarm, _ in raised)

    def state(self) -> DriftState:
        """Rows, evidence and alarms so far, all at one moment."""
        with self._lock:
            evidence = {direction: detector.evidence for direction, detector in self._detectors.items()}
            return DriftState(
                expected=self._expected,
                rows=self._rows,
                flagged=self._flagged,
                evidence_above=evidence.get(Direction.ABOVE, 0.0),
                evidence_below=evidence.get(Direction.BELOW, 0.0),
                threshold=self._threshold,
                alarms_above=self._alarms[Direction.ABOVE],
                alarms_below=self._alarms[Direction.BELOW],
                last_alarm=self._last,
            )

    @property
    def _threshold(self) -> float:
        """Of one side: each of two has half of the probability."""
        return max(len(self._detectors), 1) * self._horizon_rows / self._alpha

    def _watch(self, expected: Expected) -> None:
        self._expected = expected
        if expected.high < 1:
            self._detectors[Direction.ABOVE] = Detector(expected.high, RISES)
        if expected.low > 0:
            self._detectors[Direction.BELOW] = Detector(expected.low, FALLS)

    def _learn(self, positions: Sequence[int], rows: int) -> int:
        """Take the first rows while learning; returns how many of these rows that were."""
        if self._expected is not None or isinstance(self._given, Expected):
            return 0
        taken = min(rows, self._given.rows - self._rows)
        self._rows += taken
        self._flagged += sum(position < taken for position in positions)
        if self._rows == self._given.rows:
            seen = Rate(self._flagged, self._rows)
            self._watch(Expected.from_rate(seen, confidence=self._given.confidence))
            _log.info("flag rate learned: from now on expected %s", self._expected)
        return taken

    def _take(self, unflagged: int, is_flagged: bool, raised: list[tuple[Alarm, bool]]) -> None:
        """Take a run of unflagged rows and, if so, the flagged row behind it."""
        if unflagged:
            self._rows += unflagged
            for detector in self._detectors.values():
                detector.unflagged(unflagged)
            self._check(Direction.BELOW, raised)
        if is_flagged:
            self._rows += 1
            self._flagged += 1
            for detector in self._detectors.values():
                detector.flagged()
            self._check(Direction.ABOVE, raised)

    def _check(self, direction: Direction, raised: list[tuple[Alarm, bool]]) -> None:
        detector = self._detectors.get(direction)
        if detector is None or self._expected is None or (e_value := detector.evidence) < self._threshold:
            return
        if self._last is None or self._rows - self._last.row > self._horizon_rows:
            self._in_episode = 0
        self._in_episode += 1
        self._alarms[direction] += 1
        self._last = Alarm(
            direction=direction,
            row=self._rows,
            seen=Rate(detector.flags, max(detector.rows, 1)),
            expected=self._expected,
            e_value=e_value,
            threshold=self._threshold,
        )
        is_power_of_two = self._in_episode & (self._in_episode - 1) == 0
        raised.append((self._last, is_power_of_two))
        for each in self._detectors.values():
            each.restart()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._given, self._alpha, self._horizon_rows)


def _rebuild(
    kind: type[DriftWatch], expected: Expected | Learned, alpha: float, horizon_rows: int
) -> DriftWatch:
    return kind(expected, alpha=alpha, horizon_rows=horizon_rows)
