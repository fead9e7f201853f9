"""Finds the device to open, never another one than asked for."""

from __future__ import annotations

import logging
from typing import Final

from nip_runtime.errors import DeviceError
from nip_runtime.run.providers.check import Check, check_device
from nip_runtime.run.providers.device import CUDA, TENSORRT, Device, DeviceKind, parse_device
from nip_runtime.run.providers.plugins import registered_providers
from nip_runtime.run.providers.settings import SessionSettings
from nip_runtime.support.dependencies import load

_log = logging.getLogger(__name__)

_FULL_FLOAT32: Final = {
    CUDA: "leave use_tf32 out of the provider options",
    TENSORRT: "set NVIDIA_TF32_OVERRIDE=0 before the process starts",
    "OpenVINOExecutionProvider": "set its provider option load_config to"
    ' {"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}',
}


def resolve(text: str, *, settings: SessionSettings | None = None) -> Device:
    """Find the device to open, having run a small model on it if it is not the CPU.

    "auto" takes the first CUDA device that works, else the CPU, and logs which. A device that rounds float32
    numbers is taken with a warning in the log.

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
            _tell_of_rounding(check)
            return cuda
        _log.info("device auto: taking cpu, because CUDA does not work: %s", check.problem)
        return Device(DeviceKind.CPU)
    if wanted.kind is not DeviceKind.CPU:
        check = check_device(ort, wanted, provider_options=options)
        if not check.works:
            raise DeviceError.mismatch(
                expected=f"device {wanted}", got=check.problem, fix=f"{check.cure}, or ask for device cpu"
            )
        _tell_of_rounding(check)
    return wanted


def _tell_of_rounding(check: Check) -> None:
    if check.rounds:
        _log.warning(
            "%s rounds the factors of float32 products, which moves suspicions off their calibrated"
            " thresholds; %s",
            check.provider,
            _FULL_FLOAT32.get(check.provider, "its provider options may turn that off"),
        )
