"""What the defence costs in time: the exported file against the plain file of the same backbone."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nip_evaluate.terms.results import Latency
from nip_evaluate.terms.threats import Images
from nip_runtime.errors import InputError
from nip_runtime.support.dependencies import load

ROUNDS = 15
RUNS_PER_ROUND = 24


def measure_latency(
    plain: Path,
    defended: Path,
    images: Images,
    *,
    batch: int,
    rounds: int = ROUNDS,
    runs_per_round: int = RUNS_PER_ROUND,
) -> Latency:
    """Time both files on benign images on the CPU, one thread each.

    The files take turns batch by batch on the same images, so that whatever else the machine does hits
    both; the ratio is taken within each round, and the median over rounds is reported.

    Args:
        plain: ONNX file of the undefended backbone.
        defended: the exported file; every output is asked for.
        images: (N, *shape) float32 in [0, 1], at least `batch` of them; successive runs use successive ones,
            for a gated file is faster on some than on others.
        batch: images per run.
        rounds: number of ratios the median is taken of.
        runs_per_round: runs of each file whose times are added up in a round.

    Raises:
        InputError: fewer images than one batch, or no round.
        DependencyError: onnxruntime is missing.
    """
    if not 1 <= batch <= len(images) or rounds < 1 or runs_per_round < 1:
        raise InputError.mismatch(
            expected=f"a batch of 1 to {len(images)} images, and at least one round of one run",
            got=f"batch {batch}, {rounds} rounds of {runs_per_round} runs",
            fix="pass more images or a smaller batch",
        )
    sessions = (_open(plain), _open(defended))
    starts = np.arange(rounds * runs_per_round) * batch % (len(images) - batch + 1)
    batches = [np.ascontiguousarray(images[start : start + batch]) for start in starts]
    for session in sessions:
        _run_ms(session, batches[0])
    totals = np.zeros((rounds, 2))
    for number, values in enumerate(batches):
        for file, session in enumerate(sessions):
            totals[number // runs_per_round, file] += _run_ms(session, values)
    per_run = totals / runs_per_round
    return Latency(
        batch=batch,
        plain_ms=median(per_run[:, 0].tolist()),
        defended_ms=median(per_run[:, 1].tolist()),
        ratio=median((per_run[:, 1] / per_run[:, 0]).tolist()),
        rounds=rounds,
    )


def _open(path: Path) -> Any:
    ort: Any = load("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run_ms(session: Any, values: Images) -> float:
    feed = {session.get_inputs()[0].name: values}
    started = time.perf_counter()
    session.run(None, feed)
    return (time.perf_counter() - started) * 1e3
