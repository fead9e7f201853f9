"""The way from a CUDA build of onnxruntime to a GPU: loads the libraries, and finds the missing link."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import sys
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def preload(ort: Any) -> None:
    """Load the CUDA libraries of the nvidia-* wheels, where this onnxruntime knows how to."""
    load_libraries = getattr(ort, "preload_dlls", None)
    if load_libraries is None:
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # it prints what it does not find; the check after it says more
        load_libraries()
    for line in printed.getvalue().splitlines():
        _log.debug("onnxruntime.preload_dlls: %s", line)


def has_driver() -> bool:
    """An NVIDIA driver is installed. Without one, trying CUDA only makes onnxruntime complain on stderr."""
    return _driver() is not None


def why_not(ort: Any) -> tuple[str, str]:
    """Find the missing link between a CUDA build of onnxruntime and a GPU: (problem or "", cure)."""
    driver = _driver()
    if driver is None:
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
    windows = sys.platform == "win32"
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


def _driver() -> Any:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
