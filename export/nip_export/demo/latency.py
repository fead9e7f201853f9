"""What the defence costs in time: the exported file against the plain file of the same backbone."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from nip_export.demo.scores import LatencyScore
from nip_runtime.dependencies import load

ROUNDS = 15
RUNS_PER_ROUND = 24


def measure_latency(
    plain: Path, defended: Path, images: npt.NDArray[np.float32], *, batch: int, rounds: int = ROUNDS
) -> LatencyScore:
    """Time both files on benign images on the CPU, one thread each.

    The files take turns batch by batch on the same images, so that whatever else the machine does hits
    both; the ratio is taken within each round, and the median over rounds is reported.

    Args:
        plain: ONNX file of the undefended backbone.
        defended: the exported file; every output is asked for.
        images: (N, C, H, W) float32 in [0, 1], at least `batch` of them; successive runs use successive ones,
            for a gated file is faster on some than on others.
        batch: images per run.
        rounds: number of ratios the median is taken of.
    """
    sessions = (_open(plain), _open(defended))
    starts = np.arange(rounds * RUNS_PER_ROUND) * batch % (len(images) - batch + 1)
    batches = [np.ascontiguousarray(images[s : s + batch]) for s in starts]
    for session in sessions:
        _run_ms(session, batches[0])
    totals = np.zeros((rounds, 2))
    for number, values in enumerate(batches):
        for file, session in enumerate(sessions):
            totals[number // RUNS_PER_ROUND, file] += _run_ms(session, values)
    per_run = totals / RUNS_PER_ROUND
    return LatencyScore(
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


def _run_ms(session: Any, values: npt.NDArray[np.float32]) -> float:
    feed = {session.get_inputs()[0].name: values}
    started = time.perf_counter()
    session.run(None, feed)
    return (time.perf_counter() - started) * 1e3
