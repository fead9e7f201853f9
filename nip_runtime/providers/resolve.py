"""Finds the device to open, never another one than asked for."""

from __future__ import annotations

import logging
import os
from typing import Final

from nip_runtime.dependencies import load
from nip_runtime.errors import DeviceError
from nip_runtime.providers.check import check_device
from nip_runtime.providers.device import Device, DeviceKind, parse_device
from nip_runtime.providers.plugins import registered_providers
from nip_runtime.providers.settings import SessionSettings

_log = logging.getLogger(__name__)

_NO_TF32: Final = "NVIDIA_TF32_OVERRIDE"


def resolve(text: str, *, settings: SessionSettings | None = None) -> Device:
    """Find the device to open, having run a small model on it if it is not the CPU.

    "auto" takes the first CUDA device that works, else the CPU, and logs which.

    Args:
        text: see `parse_device`.
        settings: whose provider options the small model is run with too.

    Raises:
        DeviceError: if the device asked for can't be had; says what is missing.
        DependencyError: if onnxruntime is missing.
    """
    ort = load("onnxruntime")
    options = settings.provider_options if settings else None
    wanted = parse_device(text, registered=registered_providers(ort))
    if wanted is None:
        cuda = Device(DeviceKind.CUDA)
        check = check_device(ort, cuda, provider_options=options)
        if check.works:
            _log.info("device auto: taking %s", cuda)
            return cuda
        _log.info("device auto: taking cpu, because CUDA does not work: %s", check.problem)
        return Device(DeviceKind.CPU)
    if wanted.kind is not DeviceKind.CPU:
        check = check_device(ort, wanted, provider_options=options)
        if not check.works:
            raise DeviceError.mismatch(
                expected=f"device {wanted}", got=check.problem, fix=f"{check.cure}, or ask for device cpu"
            )
    if wanted.kind is DeviceKind.TENSORRT and os.environ.get(_NO_TF32) != "0":
        _log.warning(
            "TensorRT may round to TF32, which moves suspicions off their calibrated thresholds;"
            " set %s=0 before the process starts",
            _NO_TF32,
        )
    return wanted
