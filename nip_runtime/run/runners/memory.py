"""Tensors in memory: views of onnxruntime's on the host, and the words for when memory is short."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import NipError, OutOfMemoryError

# Of onnxruntime's arena (without and with a limit), CUDA (text and name), cuBLAS and cuDNN 8, cuDNN 9,
# TensorRT, C++ (glibc and MSVC), and torch (Linux and Windows).
_SIGNS: Final = (
    "failed to allocate memory",
    "is smaller than requested bytes",
    "out of memory",
    "cudaerrormemoryallocation",
    "alloc_failed",
    "allocation_failed",
    "outofmemory",
    "bad_alloc",
    "bad allocation",
    "can't allocate memory",
    "not enough memory",
)
_PLACES: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S+\.(?:cc|cpp|h|cu):\d+ .*?\) (?=\S)")

DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}
"""numpy's names of onnxruntime's tensor types."""


class _Lent:
    """Memory of a tensor, which it keeps alive for as long as an array looks at it."""

    def __init__(self, owner: object, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._owner = owner
        self.__array_interface__ = {
            "version": 3,
            "data": (address, False),
            "shape": shape,
            "typestr": dtype.str,
        }


def lend(owner: object, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The C-contiguous memory at ``address`` as an array that keeps ``owner`` alive."""
    kind = np.dtype(dtype)
    if 0 in shape:  # nothing to look at, and its address may be null
        return np.empty(shape, kind)
    return np.asarray(_Lent(owner, address, shape, kind))


def host_view(value: Any) -> NDArray[Any]:
    """An OrtValue in host memory as an array, without a copy.

    onnxruntime's own ``OrtValue.numpy`` copies in some versions; in others it lets go of the array that
    ``ortvalue_from_numpy`` took, and shows freed memory once the OrtValue is gone.
    """
    dtype = DTYPES.get(value.data_type())
    if dtype is None:
        array: NDArray[Any] = value.numpy()
        return array
    return lend(value, value.data_ptr(), tuple(value.shape()), dtype)


def out_of_memory(error: Exception) -> OutOfMemoryError | None:
    """The error to raise instead, if onnxruntime's, Python's or numpy's ``error`` is that memory ran out."""
    text = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and not any(sign in text.lower() for sign in _SIGNS):
        return None
    return OutOfMemoryError.mismatch(
        expected="memory for this run",
        got=_PLACES.sub("", text) or "none left",
        fix="lower max_batch, choose on_out_of_memory in SessionSettings, or free memory on the device",
    )


class _Telling:
    """A class, and none that contextlib makes of a generator: a request of one row enters it twice."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # onnxruntime's errors share no base class of their own.
        if not isinstance(error, Exception) or isinstance(error, NipError):
            return
        short = out_of_memory(error)
        if short is None:
            return
        try:
            raise short from error
        finally:
            del short, error  # or error and frame would hold each other, and the inputs, until collected


_TELLING: Final = _Telling()


def telling_of_memory() -> _Telling:
    """``with telling_of_memory():`` raises our own error for whatever says in the block that memory ran out.

    Raises:
        OutOfMemoryError: if it did.
    """
    return _TELLING
