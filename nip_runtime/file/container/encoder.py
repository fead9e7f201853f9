"""Writes small ONNX models of attribute-free nodes, without the ``onnx`` package.

The device check runs one; nothing larger is ever written this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.container.wire import encode_bytes, encode_each, encode_int

_CODES: Final = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
}
_IR_VERSION: Final = 8
_OPSET: Final = 17


def encode_node(operator: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """A NodeProto of the standard domain."""
    return encode_each(1, inputs) + encode_each(2, outputs) + encode_bytes(4, operator)


def encode_tensor(name: str, values: NDArray[Any]) -> bytes:
    """A TensorProto holding ``values`` (float32, int64 or bool)."""
    dims = b"".join(encode_int(1, size) for size in values.shape)
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return dims + encode_int(2, _CODES[values.dtype.name]) + encode_bytes(8, name) + encode_bytes(9, raw)


def encode_value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto; a text dimension is symbolic."""
    dims = encode_each(1, (encode_int(1, d) if isinstance(d, int) else encode_bytes(2, d) for d in shape))
    tensor = encode_int(1, _CODES[dtype]) + encode_bytes(2, dims)
    return encode_bytes(1, name) + encode_bytes(2, encode_bytes(1, tensor))


def encode_model(
    *,
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    initializers: Sequence[bytes] = (),
) -> bytes:
    """A ModelProto: IR version 8, opset 17."""
    graph = (
        encode_each(1, nodes)
        + encode_bytes(2, "graph")
        + encode_each(5, initializers)
        + encode_each(11, inputs)
        + encode_each(12, outputs)
    )
    return (
        encode_int(1, _IR_VERSION)
        + encode_bytes(2, "nip-runtime")
        + encode_bytes(7, graph)
        + encode_bytes(8, encode_bytes(1, "") + encode_int(2, _OPSET))
    )
