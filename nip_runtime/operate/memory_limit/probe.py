"""The fresh process that measures memory: opens a file, runs what it is told, says what that took.

Run as ``python -m nip_runtime.operate.memory_limit.probe PATH ENGINE THREADS``; 0 threads leave the choice to
the session. It prints the peak of its memory in bytes, then reads numbers of rows from standard input, runs
each, and prints the peak since the line before. Text instead of a number says what went wrong, and is the
last line.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.run.memory import forget_peak, peak_bytes
from nip_runtime.session import DefendedSession


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
