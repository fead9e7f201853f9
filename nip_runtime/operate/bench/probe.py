"""The fresh process that measures one opening: opens a file, runs it once, prints what that cost.

Run as ``python -m nip_runtime.operate.bench.probe PATH OPENER DEVICE THREADS BATCH``; 0 threads stand for the
cores that may be used. Prints one JSON object with the fields of
:class:`~nip_runtime.operate.bench.memory.Opening`.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import NipError
from nip_runtime.operate.bench.memory import Opener, Opening
from nip_runtime.run import providers
from nip_runtime.run.memory import resident_bytes, trim
from nip_runtime.session import DefendedSession
from nip_runtime.support.dependencies import load

Run = Callable[[int], object]
"""Runs a batch of that many rows."""


def probe(path: Path, opener: Opener, device: str, *, threads: int | None, batch: int) -> Opening:
    """Open ``path`` once and run ``batch`` rows once.

    What onnxruntime sets up for its first session is set up before, by a tiny model: it would hide the
    differences between small files.
    """
    resolved = providers.resolve(device)
    providers.check_device(load("onnxruntime"), resolved)
    gc.collect()
    trim()
    before = resident_bytes()
    start = time.perf_counter()
    run = _open(path, opener, resolved, threads)
    opening_s = time.perf_counter() - start
    gc.collect()
    trim()  # as a defended session does itself: models are compared, not what is left of loading them
    after = resident_bytes()
    run(batch)
    return Opening(
        added_bytes=after - before,
        resident_bytes=after,
        added_after_run_bytes=resident_bytes() - before,
        opening_s=opening_s,
    )


def _open(path: Path, opener: Opener, device: providers.Device, threads: int | None) -> Run:
    if opener is Opener.PLAIN:
        session = providers.open_session(path, device, threads=threads)
        inputs = session.get_inputs()[0]
        return lambda rows: session.run(None, {inputs.name: _random((rows, *inputs.shape[1:]), 0.0, 1.0)})
    defended = DefendedSession(path, device=str(device), engine=opener.value, threads=threads)
    spec = defended.manifest.input
    return lambda rows: defended.predict(_random((rows, *spec.shape), *spec.bounds))


def _random(shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float32]:
    values = np.random.default_rng(0).random(shape, np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    np.clip(values, np.float32(low), np.float32(high), out=values)  # rounding may carry one past the end
    return values


def main(arguments: list[str]) -> int:
    """Probe what the arguments say; an error of ours is one line."""
    path, opener, device, threads, batch = arguments
    try:
        opening = probe(Path(path), Opener(opener), device, threads=int(threads) or None, batch=int(batch))
    except NipError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(asdict(opening)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
