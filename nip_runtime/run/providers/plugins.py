"""Execution providers that live in libraries of their own, registered with onnxruntime while it runs.

Source: https://onnxruntime.ai/docs/execution-providers/plugin-ep-libraries/usage.html
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from nip_runtime.errors import DeviceError
from nip_runtime.run.providers.device import CPU, CUDA, TENSORRT
from nip_runtime.support.dependencies import load

_log = logging.getLogger(__name__)


def register_plugin(name: str, library: str | Path) -> tuple[str, ...]:
    """Load a provider's library, so that its providers can be named as devices.

    Args:
        name: any; under which onnxruntime remembers the library.
        library: path of the shared library; a provider's Python package usually tells it.

    Returns:
        Names of the providers that came with it.

    Raises:
        DeviceError: if this onnxruntime takes no plugins, or refuses this one.
        DependencyError: if onnxruntime is missing.
    """
    ort = load("onnxruntime")
    register = getattr(ort, "register_execution_provider_library", None)
    if register is None:
        raise DeviceError.mismatch(
            expected="an onnxruntime that takes plugin providers",
            got=f"version {ort.__version__}",
            fix="upgrade onnxruntime to 1.22 or later",
        )
    before = registered_providers(ort)
    try:
        register(name, os.fspath(library))
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise DeviceError.mismatch(
            expected=f"a provider library that onnxruntime {ort.__version__} loads at {library}",
            got=" ".join(str(error).split()),
            fix="install the provider's version for this onnxruntime",
        ) from error
    added = tuple(sorted(registered_providers(ort) - before))
    _log.info("registered %s from %s", ", ".join(added) or "no new provider", library)
    return added


def registered_providers(ort: Any) -> frozenset[str]:
    """Names of the providers that plugin libraries brought in and that found a device."""
    return frozenset(entry.ep_name for entry in _entries(ort)) - {CPU, CUDA, TENSORRT}


def plugin_devices(ort: Any, name: str) -> list[Any]:
    """The devices that a provider lists, as onnxruntime.OrtEpDevice; none for one that is no plugin."""
    return [entry for entry in _entries(ort) if entry.ep_name == name]


def _entries(ort: Any) -> list[Any]:
    list_devices = getattr(ort, "get_ep_devices", None)
    return [] if list_devices is None else list(list_devices())
