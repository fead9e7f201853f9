"""How an engine's parts are run: with numpy arrays, or with tensors that stay on the device."""

from nip_runtime.runners.device import DeviceRunner
from nip_runtime.runners.dlpack import DlpackTensor, from_dlpack, to_dlpack
from nip_runtime.runners.host import HostRunner
from nip_runtime.runners.pinned import pinned_empty
from nip_runtime.runners.protocol import Runner

__all__ = [
    "DeviceRunner",
    "DlpackTensor",
    "HostRunner",
    "Runner",
    "from_dlpack",
    "pinned_empty",
    "to_dlpack",
]
