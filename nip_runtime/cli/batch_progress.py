"""Progress of ``nip batch``, on stderr."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, TextIO

from nip_runtime.cli.printable import printable
from nip_runtime.operate.bulk.drive import Failure
from nip_runtime.operate.bulk.parts import Counts
from nip_runtime.operate.bulk.plan import Plan

_TERMINAL_INTERVAL_S: Final = 0.5
_LOG_INTERVAL_S: Final = 30.0
_IDLE_S: Final = 10.0
"""Without a worker until that is said: one that was killed is mostly started again."""


class BatchProgress:
    """Shards and rows done, rows per second and time left: on a terminal's last line, elsewhere at times."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._interval_s = _TERMINAL_INTERVAL_S if self._is_terminal else _LOG_INTERVAL_S
        self._shards = self._shards_done = self._rows = self._rows_done = self._rows_before = 0
        self._began = self._last = self._served = time.monotonic()
        self._is_told = False

    @property
    def shards(self) -> str:
        """How many shards are done, in words; "" before there is a plan."""
        return f"{self._shards_done} of {self._shards} shards" if self._shards else ""

    def planned(self, plan: Plan, there: Sequence[Counts]) -> None:
        """Say what there is to do."""
        self._shards, self._rows = plan.shard_count, plan.rows
        self._shards_done = len(there)
        self._rows_done = self._rows_before = sum(counts.rows for counts in there)
        rows, files = _count(plan.rows, "row"), _count(len(plan.sources), "file")
        before = f"; {len(there)} are there already" if there else ""
        self._print(f"{rows} in {files}, {_count(plan.shard_count, 'shard')}{before}")
        self._began = self._last = self._served = time.monotonic()

    def done(self, counts: Counts) -> None:
        """Count a part."""
        self._shards_done += 1
        self._rows_done += counts.rows

    def failed(self, failure: Failure) -> None:
        """Name a shard that was given up."""
        self._print(f"nip: error: {printable(str(failure))}")

    def tick(self, *, running: int, slots: int) -> None:
        """Show how far it is, if that is due."""
        now = time.monotonic()
        if slots:
            self._served, self._is_told = now, False
        elif now - self._served >= _IDLE_S and not self._is_told:
            self._print("nip: no Dask worker is left; waiting for one")
            self._is_told = True
        if now - self._last < self._interval_s:
            return
        self._last = now
        self._write(self._line(now - self._began, running))

    def clear(self) -> None:
        """Clear the line for what is written next."""
        if self._is_terminal:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _line(self, seconds: float, running: int) -> str:
        fresh = self._rows_done - self._rows_before
        line = f"{self.shards}, {self._rows_done} of {self._rows} rows"
        if fresh == 0:
            return f"{line}; {_count(running, 'shard')} at work"
        rate = fresh / seconds
        shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
        return f"{line}, {shown} rows/s, {_duration((self._rows - self._rows_done) / rate)} left"

    def _write(self, line: str) -> None:
        self._stream.write(f"\r\033[K{line}" if self._is_terminal else f"{line}\n")
        self._stream.flush()

    def _print(self, line: str) -> None:
        self.clear()
        print(line, file=self._stream, flush=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )
