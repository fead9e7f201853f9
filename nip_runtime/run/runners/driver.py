"""The few calls to the CUDA driver that onnxruntime has no word for. Loads no CUDA toolkit.

Source: https://docs.nvidia.com/cuda/cuda-driver-api/
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from nip_runtime.errors import DeviceError

_PORTABLE: Final = 1  # CU_MEMHOSTALLOC_PORTABLE: page-locked for every device
_LEGACY_STREAM: Final = 1  # CU_STREAM_LEGACY: where the DLPack protocol leaves a producer's work


class CudaDriver:
    """The driver's view of one device, in the context that onnxruntime and torch share.

    Args:
        index: of the device.

    Raises:
        DeviceError: if there is no NVIDIA driver or no such device.
    """

    def __init__(self, index: int) -> None:
        try:
            self._lib: Any = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError as error:
            raise DeviceError.mismatch(
                expected="an NVIDIA driver", got="none installed", fix="run `nip doctor`"
            ) from error
        device, self._context = ctypes.c_int(0), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        # Never released: onnxruntime holds the same context for as long as it has sessions.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)

    def synchronize(self) -> None:
        """Wait until all work on the device's default stream is done."""
        with self._current():
            self._call("cuStreamSynchronize", ctypes.c_void_p(_LEGACY_STREAM))

    def lock_pages(self, size_bytes: int) -> int:
        """Allocate page-locked host memory; its address."""
        address = ctypes.c_void_p()
        with self._current():
            self._call(
                "cuMemHostAlloc",
                ctypes.byref(address),
                ctypes.c_size_t(size_bytes),
                ctypes.c_uint(_PORTABLE),
            )
        return address.value or 0

    def free_pages(self, address: int) -> None:
        """Free what `lock_pages` allocated."""
        with self._current():
            self._call("cuMemFreeHost", ctypes.c_void_p(address))

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._lib, name)(*arguments)
        if code != 0:
            raise DeviceError.mismatch(
                expected=f"{name} of the CUDA driver to succeed",
                got=f"error {code}",
                fix="check nvidia-smi; `nip doctor` says whether the device works",
            )


@cache
def cuda_driver(index: int) -> CudaDriver:
    """The driver of a device, loaded once.

    Raises:
        DeviceError: see `CudaDriver`.
    """
    return CudaDriver(index)
