"""How an engine's parts are run: with numpy arrays, or with tensors that stay on the device."""

from nip_runtime.runners.host import HostRunner
from nip_runtime.runners.protocol import Runner

__all__ = ["HostRunner", "Runner"]
