"""The fresh process of :mod:`nip_runtime.ceiling`: opens a file, runs what it is told, says what that took.

Run as ``python -m nip_runtime.ceiling_probe PATH ENGINE THREADS``; 0 threads leave the choice to the session.
It prints the peak of its memory in bytes, then reads numbers of rows from standard input, runs each, and
prints the peak since the line before. Text instead of a number says what went wrong, and is the last line.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.manifest import InputSpec, Layout
from nip_runtime.session import DefendedSession

_STATUS: Final = Path("/proc/self/status")
_FORGET: Final = Path("/proc/self/clear_refs")


def peak_bytes() -> int:
    """Peak of this process's resident memory, since :func:`forget_peak` where the system can forget.

    Raises:
        InputError: if the system does not tell.
    """
    with suppress(OSError):  # first, because what getrusage says survives from before this program
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError as error:
        raise InputError.mismatch(
            expected="a system that tells a process's peak of memory",
            got=sys.platform,
            fix="measure on Linux or macOS",
        ) from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Make the next peak one of what comes from now on, where the system can (Linux, mostly)."""
    with suppress(OSError):
        _FORGET.write_text("5", encoding="ascii")


def images(spec: InputSpec, rows: int) -> NDArray[Any]:
    """Rows as most callers bring them: uint8 (N, H, W, C) for image models, else float32 (N, *shape)."""
    if spec.layout is Layout.NCHW:
        channels, height, width = spec.shape
        return np.zeros((rows, height, width, channels), np.uint8)
    return np.full((rows, *spec.shape), spec.bounds[0], np.float32)


def main(arguments: list[str]) -> int:
    """Open the file that the arguments name and run what standard input asks for."""
    path, engine, threads = arguments
    try:
        with DefendedSession(
            path, device="cpu", engine=engine, threads=int(threads) or None, max_batch=sys.maxsize
        ) as session:
            print(json.dumps(peak_bytes()), flush=True)
            for line in sys.stdin:
                forget_peak()
                session.predict(images(session.manifest.input, int(line)))
                print(json.dumps(peak_bytes()), flush=True)
    except Exception as error:  # whatever it is, the other process has to say it
        print(json.dumps(" ".join(str(error).split()) or type(error).__name__), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
