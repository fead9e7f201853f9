"""This process's memory: how much it holds, the most it held, and giving freed memory back."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError

_STATM: Final = Path("/proc/self/statm")
_STATUS: Final = Path("/proc/self/status")
_FORGET: Final = Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """Memory of this process that is resident; its peak so far where the system tells nothing else.

    Raises:
        InputError: if the system tells neither.
    """
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return _peak_ever_bytes()


def peak_bytes() -> int:
    """Peak of this process's resident memory, since :func:`forget_peak` where the system can forget.

    Raises:
        InputError: if the system does not tell.
    """
    with suppress(OSError):  # first, because what getrusage says survives from before this program
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    return _peak_ever_bytes()


def forget_peak() -> None:
    """Make the next peak one of what comes from now on, where the system can (Linux, mostly)."""
    with suppress(OSError):
        _FORGET.write_text("5", encoding="ascii")


def trim() -> None:
    """Ask glibc for the pages that hold nothing any more; elsewhere, nothing happens.

    Opening a model allocates and frees several times its size (the file's bytes, onnxruntime's own copies),
    and glibc keeps most of that for later: on a MobileNetV2 16 MiB beyond the 23 that the model needs.
    Takes a millisecond or two. Source: malloc_trim(3).
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _peak_ever_bytes() -> int:
    try:
        import resource
    except ModuleNotFoundError as error:
        raise InputError.mismatch(
            expected="a system that tells a process's memory",
            got=sys.platform,
            fix="measure on Linux or macOS",
        ) from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
