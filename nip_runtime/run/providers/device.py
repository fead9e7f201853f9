"""Names of devices: what a user writes, and the execution provider of onnxruntime that it stands for."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nip_runtime.errors import DeviceError

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

_NAME: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]{0,63})(?::([0-9]{1,3}))?")
_SUFFIX: Final = "ExecutionProvider"


class DeviceKind(StrEnum):
    """Where a session computes."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    PROVIDER = "provider"
    """An execution provider by onnxruntime's own name for it."""


_PROVIDERS: Final = {DeviceKind.CPU: CPU, DeviceKind.CUDA: CUDA, DeviceKind.TENSORRT: TENSORRT}


@dataclass(frozen=True)
class Device:
    """A device by kind and index, written "cpu", "cuda:0", "tensorrt:0" or "OpenVINOExecutionProvider".

    Args:
        kind: of the device.
        index: which one of several alike. For a plugin provider: which of the devices that it lists.
        name: onnxruntime's name of the provider, for the kind PROVIDER alone.
    """

    kind: DeviceKind
    index: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        if bool(self.name) != (self.kind is DeviceKind.PROVIDER):
            raise DeviceError.mismatch(
                expected="a provider's name exactly for kind provider",
                got=f"kind {self.kind}, name {self.name!r}",
                fix='write the device as text: "cuda:0"',
            )
        if self.index < 0 or (self.index and self.kind is DeviceKind.CPU):
            raise DeviceError.mismatch(
                expected="a device index from 0", got=f"{self.kind}:{self.index}", fix="count devices from 0"
            )

    def __str__(self) -> str:
        if self.kind is DeviceKind.CPU:
            return str(self.kind)
        if self.kind is DeviceKind.PROVIDER:
            return f"{self.name}:{self.index}" if self.index else self.name
        return f"{self.kind}:{self.index}"

    @property
    def provider(self) -> str:
        """onnxruntime's name of the execution provider."""
        return self.name or _PROVIDERS[self.kind]

    @property
    def memory(self) -> str | None:
        """onnxruntime's name of the memory its tensors can stay in, "cpu" or "cuda"; None where unknown."""
        if self.kind is DeviceKind.PROVIDER:
            return None
        return "cpu" if self.kind is DeviceKind.CPU else "cuda"


def parse_device(text: str, *, registered: Collection[str] = ()) -> Device | None:
    """Read a device's name; None stands for "auto".

    Args:
        text: "auto", "cpu", "cuda", "cuda:1", "tensorrt", "tensorrt:1", or onnxruntime's name of any
            execution provider, such as "OpenVINOExecutionProvider".
        registered: names of providers that need not end in "ExecutionProvider".

    Raises:
        DeviceError: for anything else.
    """
    if text == "auto":
        return None
    match = _NAME.fullmatch(str(text))
    name, index = (match[1], match[2]) if match else ("", None)
    for kind, provider in _PROVIDERS.items():
        if name in (str(kind), provider) and not (kind is DeviceKind.CPU and index is not None):
            return Device(kind, int(index or 0))
    if name in registered or (name.endswith(_SUFFIX) and name not in (_SUFFIX, CPU)):
        return Device(DeviceKind.PROVIDER, int(index or 0), name)
    raise DeviceError.mismatch(
        expected="device auto, cpu, cuda or cuda:N, tensorrt or tensorrt:N, or a provider's name such as"
        " OpenVINOExecutionProvider",
        got=repr(text),
        fix="name one of these; `nip doctor` lists what works here",
    )
