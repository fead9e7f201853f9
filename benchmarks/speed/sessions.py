"""Opens what is timed: the plain backbone in bare onnxruntime, and defended files by engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.speed.networks import Images
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.session import DefendedSession

Session = Any
"""An onnxruntime session; the package has no types."""


def open_plain(model: Path | bytes, *, threads: int | None) -> Session:
    """A bare onnxruntime session on the CPU with onnxruntime's own defaults but the number of threads."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def plain_run(session: Session) -> Callable[[Images], list[NDArray[np.float32]]]:
    """All outputs for a batch."""
    feed = session.get_inputs()[0].name
    return lambda images: session.run(None, {feed: images})


def open_defended(path: Path, engine: EngineKind, *, threads: int | None) -> DefendedSession:
    """A defended file as its user opens it."""
    return DefendedSession(path, device="cpu", engine=engine, threads=threads)
