"""Progress of long commands, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

_INTERVAL_S: Final = 0.2


class Progress:
    """How far each stage is, and its time left, on a terminal's last line; elsewhere one line per stage."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def __call__(self, stage: str, total: int) -> Callable[[int], None]:
        """Begin a stage."""
        if not self._is_terminal:
            if total > 1:
                print(f"{stage} ({total} times)", file=self._stream)
            return lambda amount: None
        start, last, done = time.monotonic(), 0.0, 0

        def advance(amount: int) -> None:
            nonlocal last, done
            done += amount
            now = time.monotonic()
            if done == total:
                self._show("")
            elif now - last >= _INTERVAL_S:
                last = now
                left_s = (now - start) / done * (total - done)
                self._show(f"{stage}: {done} of {total} rounds, {left_s:.0f} s left")

        self._show(f"{stage} …")
        return advance

    def clear(self) -> None:
        """Clear the line for what is written next."""
        if self._is_terminal:
            self._show("")

    def _show(self, text: str) -> None:
        self._stream.write(f"\r\033[K{text}")
        self._stream.flush()
