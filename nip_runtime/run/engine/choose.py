"""Opens the engine asked for, or the one that is cheaper here, and says why."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import ArtifactError, DeviceError
from nip_runtime.file.artifact import Artifact
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.manifest import Manifest
from nip_runtime.run.engine.answers import Engine, EngineKind
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.empty import check_whole, fatal_without_rows, has_padding_row
from nip_runtime.run.engine.fused import FusedEngine
from nip_runtime.run.engine.gated import GatedEngine
from nip_runtime.run.engine.host import HostAnswering
from nip_runtime.run.engine.parts import can_be_cut, has_screen
from nip_runtime.run.engine.work import surely_longer
from nip_runtime.run.providers import (
    Device,
    DeviceKind,
    OnOutOfMemory,
    SessionSettings,
    open_session,
    run_options,
    usable_cores,
)
from nip_runtime.run.runners import HostRunner, Runner
from nip_runtime.run.runners.memory import telling_of_memory

_log = logging.getLogger(__name__)

T = TypeVar("T")
OpenAgain = Callable[[], AbstractContextManager[tuple[Artifact, Buffer]]]

TINY_PASS_US: Final = 300.0
"""A backbone quicker than this spends, on a row that needs the second pass, more on the three further calls
of the gated engine than the fused one on its operators; benchmarks/speed has both."""
_RUNS: Final = 7
_CHEAPEST: Final = ": rows that need only one cost least, and the weights are held once"


@dataclass(frozen=True)
class Opened(Generic[T]):
    """An engine, why it was taken, and what answers arrays of the host with it."""

    engine: Engine[T]
    why: str
    host: HostAnswering[T]


def open_engine(
    kind: EngineKind,
    model: Sliceable,
    manifest: Manifest,
    *,
    device: Device,
    settings: SessionSettings,
    runner: Runner[T],
    open_again: OpenAgain | None = None,
) -> Opened[T]:
    """Open a defended file.

    AUTO takes the gated engine: a row that the screen leaves alone then costs one pass, and the weights stand
    in memory once. It takes the fused one where the file is of an earlier form that can't be cut, and on the
    CPU where a pass is so quick that the calls between host and onnxruntime would cost more; but not where
    that one would give a padding row a second pass, or might end the process for want of rows. How quick a
    pass is gets measured, unless the file states more work than any CPU does in that time.

    Args:
        kind: the engine.
        model: the file, ready to be cut.
        manifest: what it says about itself.
        device: where to run.
        settings: of the sessions.
        runner: runs the sessions.
        open_again: opens and checks the file once more, should ``settings`` fall back on the CPU when memory
            runs out: (its artifact, its content). None: then nothing falls back.

    Raises:
        ArtifactError: if GATED is asked for and an earlier version wrote the file; or if FUSED is asked for,
            or nothing else possible, and an operator of the second pass may end the process without rows.
        DeviceError: as :func:`nip_runtime.run.providers.open_session`; an OutOfMemoryError if memory
            runs out.
    """
    with telling_of_memory():
        engine, why = _choose(kind, model, manifest, device=device, settings=settings, runner=runner)
    fallback = None
    if open_again is not None and device.kind is not DeviceKind.CPU:
        fallback = partial(_open_on_cpu, kind, manifest, settings, open_again)
    choice = settings.on_out_of_memory
    shrinking = None if settings.cuda_graph else run_options(device, shrink=True)
    host = HostAnswering(engine, runner, choice, shrinking=shrinking, open_fallback=fallback)
    return Opened(engine, why, host)


def _open_on_cpu(
    kind: EngineKind, manifest: Manifest, settings: SessionSettings, open_again: OpenAgain
) -> HostAnswering[NDArray[Any]]:
    settings = replace(settings, provider_options={}, cuda_graph=False, on_out_of_memory=OnOutOfMemory.RAISE)
    with open_again() as (artifact, content):
        if artifact.manifest != manifest:
            raise ArtifactError.mismatch(
                expected=f"the model that was opened from {artifact.path}, to run it on the CPU",
                got="another one in its place",
                fix="open it in a new DefendedSession",
            )
        model, cpu = Sliceable(content, artifact.container), Device(DeviceKind.CPU)
        return open_engine(kind, model, manifest, device=cpu, settings=settings, runner=HostRunner()).host


def _choose(
    kind: EngineKind,
    model: Sliceable,
    manifest: Manifest,
    *,
    device: Device,
    settings: SessionSettings,
    runner: Runner[T],
) -> tuple[Engine[T], str]:
    opener = _Opener(device, settings)
    if kind is EngineKind.FUSED:
        return opener.fused(model, manifest, runner), "asked for"
    if kind is EngineKind.GATED:
        return opener.gated(model, manifest, runner), "asked for"
    if not can_be_cut(model):
        return opener.fused(
            model, manifest, runner
        ), "an earlier version wrote this file, and it can't be cut"
    operator = fatal_without_rows(model, manifest)
    if operator is not None:
        why = f"onnxruntime's {operator} may end the process where the second pass has no rows"
        return opener.gated(model, manifest, runner), why
    if device.kind is not DeviceKind.CPU:
        why = f"on {device} no run may be empty, and every new batch size is costly"
        return opener.gated(model, manifest, runner), why
    gated = opener.gated(model, manifest, runner)
    if not has_screen(model):
        return gated, "it holds the weights once"
    if has_padding_row(manifest):
        return gated, "in one session, a row would take the second pass in every batch"
    threads = settings.threads or usable_cores().count
    if surely_longer(model, manifest, TINY_PASS_US, threads=threads):
        return gated, f"a pass over one row takes more than {TINY_PASS_US:.0f} µs on any CPU{_CHEAPEST}"
    pass_us = _pass_us(gated, manifest, runner)
    measured = f"a pass over one row takes {pass_us:.0f} µs"
    if pass_us >= TINY_PASS_US:
        return gated, measured + _CHEAPEST
    why = f"{measured}: less than {TINY_PASS_US:.0f} µs, where further calls would cost more"
    return opener.fused(model, manifest, runner), why


class _Opener:
    """Opens engines on one device."""

    def __init__(self, device: Device, settings: SessionSettings) -> None:
        self._device = device
        self._settings = settings

    def _session(self, model: bytes) -> Any:
        return open_session(model, self._device, settings=self._settings)

    def _heads(self, model: bytes) -> Any:
        # Too little work to share: threads of their own would only spin beside the backbone's. And of a new
        # shape with every number of picked rows: not worth capturing.
        settings = replace(self._settings, threads=1, cuda_graph=False)
        return open_session(model, self._device, settings=settings)

    def fused(self, model: Sliceable, manifest: Manifest, runner: Runner[T]) -> FusedEngine[T]:
        if self._settings.cuda_graph and has_screen(model):
            raise DeviceError.mismatch(
                expected="a file without a screen for engine fused with cuda_graph",
                got="one whose second pass has as many rows as the data has it",
                fix="take engine gated, or leave cuda_graph out",
            )
        check_whole(model, manifest)
        return FusedEngine(bytes(model.buffer[:]), manifest, open_session=self._session, runner=runner)

    def gated(self, model: Sliceable, manifest: Manifest, runner: Runner[T]) -> GatedEngine[T]:
        return GatedEngine(
            model,
            manifest,
            open_backbone=self._session,
            open_heads=self._heads,
            runner=runner,
            padded=self._device.kind is not DeviceKind.CPU,
            beside=self._device.kind is DeviceKind.CPU,
        )


def _pass_us(gated: GatedEngine[T], manifest: Manifest, runner: Runner[T]) -> float:
    """Time of the first pass over one row, in microseconds; the best of some if it is short."""
    row = runner.from_host(np.full((1, *manifest.input.shape), manifest.input.bounds[0], np.float32))
    best_us = math.inf
    for _ in range(_RUNS):
        began = time.perf_counter()
        gated.first_pass(row)
        best_us = min(best_us, 1e6 * (time.perf_counter() - began))
        if best_us > 10 * TINY_PASS_US:  # no warm-up makes it tiny
            break
    return best_us
