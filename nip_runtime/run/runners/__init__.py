"""How an engine's parts are run: with numpy arrays, or with tensors that stay on the device."""

from nip_runtime.run.runners.device import DeviceRunner
from nip_runtime.run.runners.dlpack import DlpackTensor, from_dlpack, to_dlpack
from nip_runtime.run.runners.host import HostRunner
from nip_runtime.run.runners.pinned import pinned_empty
from nip_runtime.run.runners.protocol import Runner

__all__ = [
    "DeviceRunner",
    "DlpackTensor",
    "HostRunner",
    "Runner",
    "from_dlpack",
    "pinned_empty",
    "to_dlpack",
]
