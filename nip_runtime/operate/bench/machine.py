"""What a measurement ran on."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nip_runtime import __version__
from nip_runtime.run.providers import usable_cores
from nip_runtime.support.dependencies import load

_CPU_INFO: Final = Path("/proc/cpuinfo")
_GPU_NAME_BYTES: Final = 128


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Hardware, system and versions.

    Attributes:
        cpu: model name.
        cores: that this process may use; hyperthreads count once.
        load: mean number of runnable processes over the last minute, None where the system does not tell.
            More than a few tenths mean that others were at work.
        gpu: name of the CUDA device measured on, None on the CPU.
        system: operating system and kernel.
        python, numpy, onnxruntime, nip_runtime: versions.
        omp_threads: the environment's OMP_NUM_THREADS, None if it is not set.
    """

    cpu: str
    cores: int
    load: float | None
    gpu: str | None
    system: str
    python: str
    numpy: str
    onnxruntime: str
    nip_runtime: str
    omp_threads: str | None

    def __post_init__(self) -> None:
        if self.cores < 1:
            raise ValueError(f"cores: expected at least 1, got {self.cores}")


def describe(device: str = "cpu") -> Machine:
    """Describe this machine.

    Args:
        device: the device measured on, "cpu" or "cuda:0" and so on.

    Raises:
        DependencyError: if onnxruntime is missing.
    """
    return Machine(
        cpu=_cpu(),
        cores=usable_cores().count,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        gpu=_gpu(int(device.partition(":")[2] or 0)) if device.startswith("cuda") else None,
        system=platform.platform(),
        python=platform.python_version(),
        numpy=np.__version__,
        onnxruntime=load("onnxruntime").__version__,
        nip_runtime=__version__,
        omp_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine() or "unknown"


def _gpu(index: int) -> str:
    """The name that the driver gives a device; "unknown" if it gives none."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "unknown"
    handle, name = ctypes.c_int(0), ctypes.create_string_buffer(_GPU_NAME_BYTES)
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(handle), index) != 0:
        return "unknown"
    if driver.cuDeviceGetName(name, _GPU_NAME_BYTES, handle) != 0:
        return "unknown"
    return name.value.decode("utf-8", "replace")
