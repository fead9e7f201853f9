"""Which devices onnxruntime can really use here, and sessions on exactly these.

In order: a device's name, what can be set, the check that it computes, the session.
"""

from nip_runtime.run.providers.check import Check, check_device
from nip_runtime.run.providers.device import CPU, CUDA, TENSORRT, Device, DeviceKind, parse_device
from nip_runtime.run.providers.open import open_session
from nip_runtime.run.providers.options import NO_GRAPH, run_options
from nip_runtime.run.providers.plugins import plugin_devices, register_plugin, registered_providers
from nip_runtime.run.providers.resolve import resolve
from nip_runtime.run.providers.settings import (
    ArenaExtend,
    ConvSearch,
    LogLevel,
    OnOutOfMemory,
    SessionSettings,
    Spinning,
)
from nip_runtime.run.providers.threads import UsableCores, usable_cores

__all__ = [
    "CPU",
    "CUDA",
    "NO_GRAPH",
    "TENSORRT",
    "ArenaExtend",
    "Check",
    "ConvSearch",
    "Device",
    "DeviceKind",
    "LogLevel",
    "OnOutOfMemory",
    "SessionSettings",
    "Spinning",
    "UsableCores",
    "check_device",
    "open_session",
    "parse_device",
    "plugin_devices",
    "register_plugin",
    "registered_providers",
    "resolve",
    "run_options",
    "usable_cores",
]
