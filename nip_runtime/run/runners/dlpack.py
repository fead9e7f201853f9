"""Tensors of other libraries in and out without a copy: torch, CuPy, JAX, numpy, by the DLPack protocol.

Source: https://dmlc.github.io/dlpack/latest/python_spec.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from nip_runtime.errors import DeviceError, InputError
from nip_runtime.run.providers import Device
from nip_runtime.run.runners.driver import cuda_driver
from nip_runtime.run.runners.memory import DTYPES, host_view
from nip_runtime.support.dependencies import load

_KINDS: Final = {1: "cpu", 2: "cuda", 3: "page-locked host memory", 13: "managed CUDA memory"}
_CODES: Final = {"cpu": 1, "cuda": 2}
_DEFAULT_STREAM: Final = 1


class DlpackTensor(Protocol):
    """A tensor that speaks DLPack: numpy.ndarray, torch.Tensor, cupy.ndarray, jax.Array, OrtValue."""

    def __dlpack__(self, *, stream: Any = None) -> Any:
        """A capsule with the tensor's memory, ready for work on ``stream``."""
        ...

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's number of the kind of device, and the device's index."""
        ...


class _Handed:
    """A tensor of which the capsule is already made."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self) -> Any:
        return self._capsule


def from_dlpack(
    tensor: DlpackTensor, *, device: Device, shape: Sequence[int | None], dtype: str = "float32"
) -> Any:
    """A tensor of another library as an OrtValue on the same memory.

    The OrtValue keeps the memory alive. Work still under way on a GPU is waited for. Don't write to the
    tensor while a run uses it.

    Args:
        tensor: anything with ``__dlpack__`` and ``__dlpack_device__``.
        device: where it has to be.
        shape: sizes it has to have; None for any.
        dtype: numpy's name of the type of number it has to hold.

    Raises:
        InputError: if it is no such tensor, elsewhere, of another shape or type, or not C-contiguous.
        DeviceError: if this onnxruntime cannot take tensors from a GPU.
    """
    _check_place(tensor, device)
    ort = load("onnxruntime")
    if isinstance(tensor, np.ndarray):
        # Straight: DLPack knows no read-only arrays.
        _check_form(tensor.dtype.name, tensor.shape, dtype, shape)
        if not tensor.flags.c_contiguous:
            raise _not_contiguous("numpy.ascontiguousarray(images)")
        return ort.OrtValue.ortvalue_from_numpy(tensor)
    if isinstance(tensor, ort.OrtValue):  # by DLPack it would forget a numpy array that it is made of
        _check_form(DTYPES.get(tensor.data_type(), tensor.data_type()), tuple(tensor.shape()), dtype, shape)
        return tensor
    if not hasattr(ort.OrtValue, "from_dlpack"):
        raise DeviceError.mismatch(
            expected="an onnxruntime that takes tensors by DLPack",
            got=f"version {ort.__version__}",
            fix="upgrade onnxruntime, or pass a numpy array",
        )
    value = _take(ort, tensor, device)
    _check_form(DTYPES.get(value.data_type(), value.data_type()), tuple(value.shape()), dtype, shape)
    return value


def to_dlpack(value: Any) -> DlpackTensor:
    """An OrtValue as something that ``torch.from_dlpack``, ``cupy.from_dlpack`` and the like take, uncopied.

    What they make of it keeps the memory alive. A run that made the value has ended: nothing to wait for.
    """
    # Its own __dlpack__ forgets the numpy array that a value on the host may be made of.
    tensor: DlpackTensor = host_view(value) if value.device_name() == "cpu" else value
    return tensor


def _take(ort: Any, tensor: Any, device: Device) -> Any:
    try:
        if device.memory == "cpu":
            return ort.OrtValue.from_dlpack(tensor)
        # The producer lets the default stream wait for its own, and we wait for the default stream:
        # onnxruntime computes on streams that wait for none of them.
        handed = _Handed(tensor.__dlpack__(stream=_DEFAULT_STREAM))
        cuda_driver(device.index).synchronize()
        return ort.OrtValue.from_dlpack(handed)
    except (RuntimeError, BufferError, TypeError) as error:
        text = " ".join(str(error).split())
        if "contiguous" in text.lower():
            raise _not_contiguous("images.contiguous()") from error
        if "gradient" in text.lower():
            raise InputError.mismatch(
                expected="a tensor outside of automatic differentiation",
                got="one that requires a gradient",
                fix="pass images.detach()",
            ) from error
        raise InputError.mismatch(
            expected="a tensor that onnxruntime takes by DLPack", got=text, fix="pass float32 numbers"
        ) from error


def _check_place(tensor: object, device: Device) -> None:
    code = _CODES.get(device.memory or "")
    if code is None:
        raise InputError.mismatch(
            expected="device cpu or cuda for DLPack", got=str(device), fix="pass numpy arrays"
        )
    if not (hasattr(tensor, "__dlpack__") and hasattr(tensor, "__dlpack_device__")):
        raise InputError.mismatch(
            expected="a tensor with __dlpack__ and __dlpack_device__",
            got=type(tensor).__name__,
            fix="pass a numpy array, or a torch or CuPy tensor",
        )
    try:
        kind, index = (int(part) for part in tensor.__dlpack_device__())
    except (ValueError, TypeError, BufferError) as error:
        raise InputError.mismatch(
            expected=f"a tensor on {device}", got=str(error), fix="move it there"
        ) from error
    if (kind, index) != (code, device.index):
        raise InputError.mismatch(
            expected=f"a tensor on {device}",
            got=f"one on {_KINDS.get(kind, f'DLPack device {kind}')}{f':{index}' if kind == 2 else ''}",
            fix="move it there, or open the file on its device",
        )


def _check_form(got_dtype: str, got_shape: tuple[int, ...], dtype: str, shape: Sequence[int | None]) -> None:
    fits = len(got_shape) == len(shape) and all(
        want in (None, size) for want, size in zip(shape, got_shape, strict=True)
    )
    if got_dtype != dtype or not fits:
        wanted = ", ".join("N" if size is None else str(size) for size in shape)
        raise InputError.mismatch(
            expected=f"{dtype} ({wanted})",
            got=f"{got_dtype} {got_shape}",
            fix="convert the tensor before handing it over",
        )


def _not_contiguous(fix: str) -> InputError:
    return InputError.mismatch(expected="a C-contiguous tensor", got="one with gaps or swapped axes", fix=fix)
