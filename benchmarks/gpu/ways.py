"""The ways in which a defended file is opened and timed."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.material import Floats
from benchmarks.gpu.step import Task
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.providers import Device, SessionSettings, open_session, resolve
from nip_runtime.session import DefendedSession


class Way(StrEnum):
    """How a defended file runs."""

    FUSED = "fused"
    GATED = "gated"
    GRAPHED = "graphed"
    """Gated, each batch size captured as a CUDA graph and replayed."""


PLAIN = "plain"


def ways_on(told: Task) -> tuple[Way, ...]:
    """All ways on a GPU; on a CPU those without captured graphs."""
    return tuple(Way) if told.on_gpu else (Way.FUSED, Way.GATED)


def open_way(
    told: Task, path: Path, way: Way, *, settings: SessionSettings | None = None, max_batch: int = 256
) -> DefendedSession:
    """Open a defended file on exactly the device of a task."""
    return DefendedSession(
        path,
        device=told.device,
        engine=EngineKind.FUSED if way is Way.FUSED else EngineKind.GATED,
        settings=replace(settings or SessionSettings(), cuda_graph=way is Way.GRAPHED),
        max_batch=max_batch,
    )


def open_plain(told: Task, model: bytes) -> tuple[Any, Device]:
    """The backbone alone in bare onnxruntime, with the settings that a defended session has."""
    device = resolve(told.device)
    return open_session(model, device, settings=SessionSettings()), device


def on_device(told: Task, inputs: Floats) -> Any:
    """A batch as a tensor where the task's sessions compute."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(inputs)).to(told.device)


def wait(told: Task) -> None:
    """Until the device has done all it was given."""
    if told.on_gpu:
        import torch

        torch.cuda.synchronize()
