"""Which devices onnxruntime can really use here, and why it can't use the others."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from nip_runtime.dependencies import load
from nip_runtime.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.errors import DeviceError

_log = logging.getLogger(__name__)

CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"

_DEVICE: Final = re.compile(r"cpu|cuda(?::([0-9]{1,3}))?")
_ERRORS: Final = 3
_SILENT: Final = 4  # onnxruntime's log level "fatal": what goes wrong here is reported in our words


class DeviceKind(StrEnum):
    """Where a session computes."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True)
class Device:
    """A device by kind and index, written "cpu" or "cuda:0"."""

    kind: DeviceKind
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.kind is DeviceKind.CUDA else str(self.kind)

    @property
    def provider(self) -> str:
        """onnxruntime's name of the execution provider."""
        return CUDA if self.kind is DeviceKind.CUDA else CPU

    @property
    def options(self) -> dict[str, str]:
        """Options of that provider."""
        if self.kind is DeviceKind.CPU:
            return {}
        # The gate compares margins with thresholds that were calibrated in full float32: no TF32.
        return {"device_id": str(self.index), "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


@dataclass(frozen=True)
class Check:
    """What running a small model on a provider showed. ``problem`` and ``cure`` are "" where it works."""

    provider: str
    works: bool
    problem: str = ""
    cure: str = ""


def parse_device(text: str) -> Device | None:
    """Read "cpu", "cuda" or "cuda:1"; None stands for "auto".

    Raises:
        DeviceError: for anything else.
    """
    if text == "auto":
        return None
    match = _DEVICE.fullmatch(str(text))
    if match is None:
        raise DeviceError.mismatch(
            expected="device auto, cpu, cuda or cuda:N", got=repr(text), fix="name one of these"
        )
    if text == "cpu":
        return Device(DeviceKind.CPU)
    return Device(DeviceKind.CUDA, int(match[1] or 0))


def resolve(text: str) -> Device:
    """Find the device to open, having run a small model on it if it is a CUDA one.

    "auto" takes the first CUDA device that works, else the CPU, and logs which.

    Raises:
        DeviceError: if a CUDA device was asked for and can't be had; says what is missing.
        DependencyError: if onnxruntime is missing.
    """
    ort = load("onnxruntime")
    wanted = parse_device(text)
    if wanted is None:
        cuda = Device(DeviceKind.CUDA)
        check = check_device(ort, cuda)
        if check.works:
            _log.info("device auto: taking %s", cuda)
            return cuda
        _log.info("device auto: taking cpu, because CUDA does not work: %s", check.problem)
        return Device(DeviceKind.CPU)
    if wanted.kind is DeviceKind.CUDA:
        check = check_device(ort, wanted)
        if not check.works:
            raise DeviceError.mismatch(
                expected=f"device {wanted}", got=check.problem, fix=f"{check.cure}, or ask for device cpu"
            )
    return wanted


def check_device(ort: Any, device: Device) -> Check:
    """Run a small model on ``device`` and compare the result; where that fails, find out why."""
    if device.kind is DeviceKind.CUDA:
        if CUDA not in ort.get_available_providers():
            return Check(
                CUDA,
                False,
                "this onnxruntime is built without CUDA",
                'pip uninstall onnxruntime, then pip install "nip-runtime[gpu]"',
            )
        _preload(ort)
    return check_provider(ort, device.provider, device.options)


def check_provider(ort: Any, provider: str, options: Mapping[str, str]) -> Check:
    """Run a small model on ``provider`` and compare the result."""
    settings = ort.SessionOptions()
    settings.log_severity_level = _SILENT
    if provider != CPU:
        # A provider that hands its nodes on to the CPU would seem to work.
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    x = np.array([[1, 2, 3], [-4, 5, -6]], np.float32)
    weights = np.array([[1, 0], [2, -1], [0, 3]], np.float32)
    bias = np.array([10, -10], np.float32)
    model = encode_model(
        nodes=[encode_node("MatMul", ["x", "w"], ["p"]), encode_node("Add", ["p", "b"], ["y"])],
        inputs=[encode_value("x", "float32", ["N", 3])],
        outputs=[encode_value("y", "float32", ["N", 2])],
        initializers=[encode_tensor("w", weights), encode_tensor("b", bias)],
    )
    try:
        # Without enable_fallback=0 onnxruntime prints and goes on without the provider.
        session = ort.InferenceSession(
            model, settings, providers=[(provider, dict(options))], enable_fallback=0
        )
        taken = session.get_providers()[0]
        if taken != provider:
            return _failed(ort, provider, f"onnxruntime silently took {taken} instead")
        (y,) = session.run(["y"], {"x": x})
    except Exception as error:  # onnxruntime's errors share no base class of their own
        return _failed(ort, provider, " ".join(str(error).split()))
    expected = x @ weights + bias  # small integers: exact in every float format
    if not np.array_equal(y, expected):
        return Check(
            provider,
            False,
            f"it computes {y.tolist()} for {expected.tolist()}",
            "check the driver and hardware",
        )
    return Check(provider, True)


def _failed(ort: Any, provider: str, symptom: str) -> Check:
    if provider == CUDA:
        problem, cure = _why_no_cuda(ort)
        return Check(provider, False, problem or symptom, cure)
    return Check(provider, False, symptom, "see onnxruntime's page on this execution provider")


def _why_no_cuda(ort: Any) -> tuple[str, str]:
    """Find the missing link between a CUDA build of onnxruntime and a GPU: (problem or "", cure)."""
    windows = sys.platform == "win32"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if windows else "libcuda.so.1")
    except OSError:
        return (
            "no NVIDIA driver is installed",
            "install the NVIDIA driver (in a container: run it with --gpus all)",
        )
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return (
            "the NVIDIA driver sees no device",
            "check nvidia-smi and CUDA_VISIBLE_DEVICES (in a container: run it with --gpus all)",
        )
    folder = Path(ort.__file__).parent / "capi"
    pattern = "onnxruntime_providers_{}.dll" if windows else "libonnxruntime_providers_{}.so"
    try:
        ctypes.CDLL(str(folder / pattern.format("shared")), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / pattern.format("cuda")))
    except OSError as error:
        return (
            f"a CUDA library does not load ({error})",
            'pip install "nip-runtime[gpu]" brings CUDA and cuDNN',
        )
    devices = f"{count.value} device{'s' if count.value != 1 else ''}"
    return (
        "",
        f"check that the device exists (the driver sees {devices}) and that the driver fits the CUDA version",
    )


def _preload(ort: Any) -> None:
    """Load the CUDA libraries of the nvidia-* wheels, where this onnxruntime knows how to."""
    preload = getattr(ort, "preload_dlls", None)
    if preload is None:
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # it prints what it does not find; the check after it says more
        preload()
    for line in printed.getvalue().splitlines():
        _log.debug("onnxruntime.preload_dlls: %s", line)


def open_session(path: Path, device: Device, *, threads: int | None) -> Any:
    """Open an onnxruntime session on exactly ``device``.

    Raises:
        DeviceError: if onnxruntime takes another provider than asked for.
        Exception: whatever onnxruntime raises for a model that it refuses.
    """
    ort = load("onnxruntime")
    settings = ort.SessionOptions()
    settings.log_severity_level = _ERRORS
    if threads is not None:
        settings.intra_op_num_threads = threads
    wanted: list[tuple[str, dict[str, str]]] = [(device.provider, device.options)]
    if device.kind is not DeviceKind.CPU:
        wanted.append((CPU, {}))  # shape arithmetic and the like stay on the host
    session = ort.InferenceSession(os.fspath(path), settings, providers=wanted, enable_fallback=0)
    taken = session.get_providers()[0]
    if taken != device.provider:
        raise DeviceError.mismatch(
            expected=f"device {device}",
            got=f"onnxruntime took {taken}",
            fix="run `nip doctor` for the reason",
        )
    return session
