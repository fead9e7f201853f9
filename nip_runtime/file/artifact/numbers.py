"""Reads stored numbers without numpy, which showing a file must not need.

The common case is decided by passes over bytes that Python makes in C: a bank of 9 MB takes milliseconds.
"""

from __future__ import annotations

import math
import struct
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import DTYPES
from nip_runtime.file.artifact.agreement import AGAIN
from nip_runtime.file.container.infos import InitializerInfo
from nip_runtime.file.container.reader import printable
from nip_runtime.file.container.wire import Buffer

_CODES: Final = {"float32": "f", "float64": "d", "float16": "e", "int8": "b", "int32": "i", "int64": "q"}
_BUT_TOP: Final = bytes(set(range(256)) - {0x7F, 0xFF})
"""Last bytes of float32 numbers below 1.7e38."""
_LOOKED_AT: Final = 1 << 16


def read_numbers(tensor: InitializerInfo, content: Buffer) -> tuple[float, ...]:
    """The values of a weight, flat.

    Raises:
        ArtifactError: if it is not stored as raw bytes, or of a type that no constant of the defence has.
    """
    return struct.unpack(f"<{tensor.elements}{_code(tensor)}", _raw(tensor, content))


def non_finite(tensor: InitializerInfo, content: Buffer) -> int:
    """How many values are NaN or Inf.

    Raises:
        ArtifactError: as :func:`read_numbers`.
    """
    if tensor.dtype == "float32" and not _raw(tensor, content)[3::4].translate(None, _BUT_TOP):
        return 0
    return sum(not math.isfinite(value) for value in read_numbers(tensor, content))


def beyond(tensor: InitializerInfo, content: Buffer, most: int) -> int:
    """An absolute value above ``most`` in an int8 weight, a large one; 0 if there is none.

    Raises:
        ArtifactError: as :func:`read_numbers`.
    """
    within = bytes(value & 0xFF for value in range(max(-most, -128), min(most, 127) + 1))
    outside = _raw(tensor, content).translate(None, within)
    return max((min(byte, 256 - byte) for byte in outside[:_LOOKED_AT]), default=0)


def to_float32(value: float) -> float:
    """The float32 next to ``value``; infinite beyond its range."""
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return float(rounded)


def _raw(tensor: InitializerInfo, content: Buffer) -> bytes:
    _code(tensor)
    if tensor.raw is None:
        raise ArtifactError.mismatch(
            expected=f"{printable(tensor.name)} as raw bytes", got="another encoding", fix=AGAIN
        )
    start, stop = tensor.raw
    if stop - start != tensor.elements * DTYPES[tensor.dtype]:
        raise ArtifactError.mismatch(
            expected=f"{tensor.elements} numbers in {printable(tensor.name)}",
            got=f"{stop - start} bytes",
            fix=AGAIN,
        )
    return content[start:stop]


def _code(tensor: InitializerInfo) -> str:
    code = _CODES.get(tensor.dtype)
    if code is None:
        raise ArtifactError.mismatch(
            expected=f"{printable(tensor.name)} of a usual type", got=tensor.dtype, fix=AGAIN
        )
    return code
