"""How a command's process uses the machine: idle threads, and freed memory."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_ON_THE_HEAP: Final = 2**25


def passive_waiting() -> None:
    """Let idle threads sleep, unless the user has chosen otherwise.

    They spin by default; on a machine with other work that made the demo's attacks seven times slower. Read
    when torch is loaded, so it must be set before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for what is asked for next, as every batch asks for the same again.

    By default it hands large arrays back to the kernel, which clears every page anew: with EfficientNet-Lite0
    at 224² half of the time of a gradient. Source: mallopt(3); 32 MiB is the most that it takes.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(_MMAP_THRESHOLD, _LARGEST_ON_THE_HEAP)
            libc.mallopt(_TRIM_THRESHOLD, 2**30)
