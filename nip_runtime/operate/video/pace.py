"""How fast a video is watched: frames per second of each kind of work, and latency."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np

_LATENCIES_KEPT: Final = 10_000
_PROGRESS_INTERVAL_S: Final = 0.2


@dataclass(eq=False)
class Meter:
    """Counts frames through one kind of work, and the time spent on it, from several threads at once."""

    frames: int = 0
    spent_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def timing(self, frames: int = 1) -> Iterator[None]:
        """Time work on so many frames; work that fails does not count."""
        start_s = time.perf_counter()
        yield
        with self._lock:
            self.spent_s += time.perf_counter() - start_s
            self.frames += frames

    @property
    def rate_hz(self) -> float:
        """Frames per second of one thread; 0 before the first."""
        return self.frames / self.spent_s if self.spent_s else 0.0


@dataclass(eq=False)
class Pace:
    """How fast a video is watched.

    Attributes:
        batch: frames per run, at most.
        reading: of files or cameras, decoding included.
        converting: colours and size.
        computing: inside ``predict``.
        drawing: answers onto frames, and writing or showing these.
        frames: answered so far.
        flagged: of these, held for attacked.
        wall_s: from the start to the last frame's answer.
    """

    batch: int
    reading: Meter = field(default_factory=Meter)
    converting: Meter = field(default_factory=Meter)
    computing: Meter = field(default_factory=Meter)
    drawing: Meter = field(default_factory=Meter)
    frames: int = 0
    flagged: int = 0
    wall_s: float = 0.0
    _latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    _start_s: float = field(default_factory=time.perf_counter)
    _shown_s: float = 0.0

    def answered(self, taken_s: float, *, flagged: bool) -> None:
        """Count a frame taken at that time (``time.perf_counter``); on a terminal, show the number."""
        now_s = time.perf_counter()
        self._latencies_ms.append((now_s - taken_s) * 1000)
        self.frames += 1
        self.flagged += flagged
        self.wall_s = now_s - self._start_s
        if sys.stderr.isatty() and now_s - self._shown_s >= _PROGRESS_INTERVAL_S:
            self._shown_s = now_s
            print(
                f"\r{self.frames} frames, {self.frames / self.wall_s:.1f} per second", end="", file=sys.stderr
            )

    def finished(self) -> None:
        """Clear the shown number."""
        if self._shown_s:
            print("\r\033[K", end="", file=sys.stderr)

    def latency_ms(self, percent: float) -> float:
        """Percentile of the time from reading a frame to its answer, of the last frames; NaN without any."""
        return float(np.percentile(self._latencies_ms, percent)) if self._latencies_ms else float("nan")

    def report(self) -> str:
        """The figures, in words."""
        if not self.frames:
            return "no frames"
        rates = [
            ("decode", self.reading.rate_hz, "reading, one thread"),
            ("convert", self.converting.rate_hz, "colours and size, one thread"),
            ("compute", self.computing.rate_hz, f"in predict, up to {self.batch} at once"),
            ("draw", self.drawing.rate_hz, "drawing and writing, one thread"),
            ("total", self.frames / self.wall_s, "all of it, at the same time"),
        ]
        lines = [f"{self.frames} frames, {self.flagged} flagged, in {self.wall_s:.2f} s; frames per second:"]
        lines += [f"  {name:8}{rate_hz:9.1f}  {what}" for name, rate_hz, what in rates if rate_hz > 0]
        lines.append(
            f"latency from reading a frame to its answer, waiting included: "
            f"p50 {self.latency_ms(50):.1f} ms, p95 {self.latency_ms(95):.1f} ms"
        )
        return "\n".join(lines)
