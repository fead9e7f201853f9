"""Opens onnxruntime sessions on exactly the device asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nip_runtime.errors import DeviceError
from nip_runtime.run.providers.device import Device, DeviceKind
from nip_runtime.run.providers.options import provider_list, provider_options, session_options
from nip_runtime.run.providers.plugins import plugin_devices
from nip_runtime.run.providers.settings import SessionSettings
from nip_runtime.support.dependencies import load


def open_session(
    model: Path | str | bytes,
    device: Device,
    *,
    threads: int | None = None,
    settings: SessionSettings | None = None,
) -> Any:
    """Open an onnxruntime session on exactly ``device``.

    Args:
        model: path of a model file, or a serialised ModelProto.
        device: where to compute; nodes that its provider cannot run go to the CPU.
        threads: short for ``SessionSettings(threads=threads)``.
        settings: all else that can be set; wins over ``threads``.

    Raises:
        DeviceError: if onnxruntime takes another provider than asked for, the model can't be captured as a
            CUDA graph that ``settings`` ask for, or the system gives no more threads.
        InputError: if ``settings`` do not fit the device.
        Exception: whatever onnxruntime raises for a model that it refuses.
    """
    ort = load("onnxruntime")
    settings = settings or SessionSettings(threads=threads)
    options = session_options(ort, settings)
    try:
        session = create_session(ort, model, device, options, settings)
    except Exception as error:  # onnxruntime's errors share no base class of their own
        if settings.cuda_graph and "graph capture" in str(error).lower():
            raise DeviceError.mismatch(
                expected="a model whose every node runs on CUDA, as a captured graph needs",
                got=" ".join(str(error).split()),
                fix="open it without cuda_graph",
            ) from error
        if "pthread_create failed" in str(error):
            raise DeviceError.mismatch(
                expected=f"{options.intra_op_num_threads} threads for this session",
                got="a system that gives no more to this process",
                fix="lower threads in SessionSettings, or raise the limits on memory and tasks",
            ) from error
        raise
    taken = session.get_providers()[0]
    if taken != device.provider:
        raise DeviceError.mismatch(
            expected=f"device {device}",
            got=f"onnxruntime took {taken}",
            fix="run `nip doctor` for the reason",
        )
    return session


def create_session(
    ort: Any,
    model: Path | str | bytes,
    device: Device,
    options: Any,
    settings: SessionSettings,
    *,
    helpers: bool = True,
) -> Any:
    """Hand a model to onnxruntime with the providers of ``device``, a plugin's or built-in ones.

    Args:
        ort: the onnxruntime module.
        model: path or serialised ModelProto.
        device: where to compute.
        options: an onnxruntime.SessionOptions; a plugin's device is added to it.
        settings: whose provider options are taken.
        helpers: whether other providers may take what the device's own cannot.

    Raises:
        DeviceError: if a plugin provider has no device of that index.
        Exception: whatever onnxruntime raises.
    """
    source = model if isinstance(model, bytes) else os.fspath(model)
    entries = plugin_devices(ort, device.provider) if device.kind is DeviceKind.PROVIDER else []
    if entries:
        if device.index >= len(entries):
            raise DeviceError.mismatch(
                expected=f"device {device}",
                got=f"{len(entries)} device{'s' * (len(entries) != 1)} of that provider",
                fix="count them from 0",
            )
        # Some versions pass over a plugin named in `providers` in silence: its devices go into the options.
        options.add_provider_for_devices([entries[device.index]], provider_options(device, settings))
        session = ort.InferenceSession(source, options, enable_fallback=0)
    else:
        wanted = provider_list(device, settings)
        # Without enable_fallback=0 onnxruntime prints and goes on without the provider.
        session = ort.InferenceSession(
            source, options, providers=wanted if helpers else wanted[:1], enable_fallback=0
        )
    if getattr(session, "_model_bytes", None) is not None:
        # Kept for `set_providers`, which nothing here calls: a second copy of all weights in memory.
        session._model_bytes = None
    return session
