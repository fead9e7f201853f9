"""Opens the engine asked for, or the one that is cheaper here, and says why."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np

from nip_runtime import names
from nip_runtime.engine.answers import Engine, EngineKind
from nip_runtime.engine.cut import Sliceable
from nip_runtime.engine.fused import FusedEngine
from nip_runtime.engine.gated import GatedEngine
from nip_runtime.engine.parts import can_be_cut, has_screen
from nip_runtime.manifest import Manifest
from nip_runtime.providers import Device, DeviceKind, SessionSettings, open_session
from nip_runtime.runners import HostRunner, Runner

_log = logging.getLogger(__name__)

T = TypeVar("T")

SMALL_BYTES: Final = 4 << 20
"""Below this size of file, what a call costs beside the arithmetic decides, so both engines are timed."""
_ROUNDS: Final = 15
_NEVER: Final = np.array(np.inf, np.float32)
_ALWAYS: Final = np.array(-np.inf, np.float32)


@dataclass(frozen=True)
class Opened(Generic[T]):
    """An engine, and why it was taken."""

    engine: Engine[T]
    why: str


def open_engine(
    kind: EngineKind,
    model: Sliceable,
    manifest: Manifest,
    *,
    device: Device,
    settings: SessionSettings,
    runner: Runner[T],
) -> Opened[T]:
    """Open a defended file.

    AUTO takes the gated engine: benign batches then cost one pass, and the weights stand in memory once. The
    fused one is taken where the file is of an earlier form that can't be cut, and on the CPU for small files
    if it proves quicker for the file's calibrated mix of rows.

    Args:
        kind: the engine.
        model: the file, ready to be cut.
        manifest: what it says about itself.
        device: where to run.
        settings: of the sessions.
        runner: runs the sessions.

    Raises:
        ArtifactError: if GATED is asked for and an earlier version wrote the file.
        DeviceError: as :func:`nip_runtime.providers.open_session`.
    """
    opener = _Opener(device, settings)
    if kind is EngineKind.FUSED:
        return Opened(opener.fused(bytes_of(model), manifest, runner), "asked for")
    if kind is EngineKind.GATED:
        return Opened(opener.gated(model, manifest, runner), "asked for")
    if not can_be_cut(model):
        why = "an earlier version wrote this file, and it can't be cut"
        return Opened(opener.fused(bytes_of(model), manifest, runner), why)
    if device.kind is not DeviceKind.CPU:
        why = f"on {device} no run may be empty, and every new batch size is costly"
        return Opened(opener.gated(model, manifest, runner), why)
    gated = opener.gated(model, manifest, runner)
    if len(model.buffer) > SMALL_BYTES or not has_screen(model):
        return Opened(gated, "on the CPU it costs least, and holds the weights once")
    return _quicker(opener, model, manifest, runner, gated)


def bytes_of(model: Sliceable) -> bytes:
    """The whole file."""
    return bytes(model.buffer[:])


class _Opener:
    """Opens engines on one device."""

    def __init__(self, device: Device, settings: SessionSettings) -> None:
        self._device = device
        self._settings = settings

    def _session(self, model: bytes) -> Any:
        return open_session(model, self._device, settings=self._settings)

    def _heads(self, model: bytes) -> Any:
        # Too little work to share; threads of their own would only spin beside the backbone's.
        return open_session(model, self._device, settings=replace(self._settings, threads=1))

    def fused(self, model: bytes, manifest: Manifest, runner: Runner[T]) -> FusedEngine[T]:
        return FusedEngine(model, manifest, open_session=self._session, runner=runner)

    def gated(self, model: Sliceable, manifest: Manifest, runner: Runner[T]) -> GatedEngine[T]:
        return GatedEngine(
            model,
            manifest,
            open_backbone=self._session,
            open_heads=self._heads,
            runner=runner,
            padded=self._device.kind is not DeviceKind.CPU,
        )


def _quicker(
    opener: _Opener, model: Sliceable, manifest: Manifest, runner: Runner[T], gated: GatedEngine[T]
) -> Opened[T]:
    """Time both engines on one row, with and without the second pass, and weigh by the calibrated rate."""
    host = HostRunner()
    calm, busy = (
        opener.fused(model.with_constant(names.SCREEN_THRESHOLD, cut), manifest, host)
        for cut in (_NEVER, _ALWAYS)
    )
    row = np.full((1, *manifest.input.shape), manifest.input.bounds[0], np.float32)
    tensor = runner.from_host(row)
    share = manifest.calibration.pass2_rate.value
    fused_us = _mixed_us(share, lambda: calm.run(row), lambda: busy.run(row))
    gated_us = _mixed_us(share, lambda: gated.run(tensor), lambda: gated.warm(tensor))
    compared = f"{gated_us:.0f} µs gated, {fused_us:.0f} µs fused, one row as calibrated"
    if gated_us <= fused_us:
        return Opened(gated, f"measured: {compared}")
    return Opened(opener.fused(bytes_of(model), manifest, runner), f"measured: {compared}")


def _mixed_us(share: float, calm: Callable[[], object], busy: Callable[[], object]) -> float:
    """Median cost of a row, a share of which takes the second pass, in microseconds."""
    return (1 - share) * _median_us(calm) + share * _median_us(busy)


def _median_us(run: Callable[[], object]) -> float:
    for _ in range(3):
        run()
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e6 * float(np.median(times))
