"""Static quantisation to int8 by onnxruntime's own quantiser, in the QDQ form of the standard domain.

Weights are int8 with one scale per output channel, activations uint8 with one range per tensor, seen on
benign inputs. Weights use 7 of their 8 bits: on CPUs without VNNI the products of two neighbouring 8-bit
weights saturate, and the file would answer otherwise there than where its gate was calibrated.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

BATCH = 32
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators worth quantising: those with weights."""
BETWEEN = ("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Relu")
"""Operators between products in convolutional networks: in int8 they save the way to float and back."""
FLOAT_NETWORK = "LayerNormalization"
"""Transformers add up in float between LayerNorms, whose inputs span a range too wide for 8 bits."""


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds inputs to the quantiser, some at a time."""

    def __init__(self, name: str, inputs: NDArray[np.float32]) -> None:
        self._parts = iter([{name: inputs[i : i + BATCH]} for i in range(0, len(inputs), BATCH)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch; None after the last."""
        return next(self._parts, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser recommends, through the root logger, what has been done or does not apply."""
    root = logging.getLogger()

    def is_ours(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    handlers = list(root.handlers)
    root.addFilter(is_ours)
    try:
        yield
    finally:
        root.removeFilter(is_ours)
        for handler in root.handlers[:]:
            if handler not in handlers:  # logging.warning() sets up a handler where there is none
                root.removeHandler(handler)


def quantised(model: onnx.ModelProto, input_name: str, inputs: NDArray[np.float32]) -> onnx.ModelProto:
    """The model with its products, and in convolutional networks what lies between them, in int8.

    Args:
        model: float32, BatchNorm folded.
        input_name: of its only input.
        inputs: (N, *shape) float32 benign inputs, N ≥ 1: ranges reach from the lowest to the highest value
            that their activations have.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    # Products of activations, as in attention, stay in float: their ranges differ from image to image, and
    # the quantised Softmax before them fails on the empty batch of a second pass that no row takes.
    loose = [
        node.name
        for node in model.graph.node
        if node.op_type in ("Gemm", "MatMul") and not weights.intersection(node.input)
    ]
    convolutional = all(node.op_type != FLOAT_NETWORK for node in model.graph.node)
    with tempfile.TemporaryDirectory(prefix="nip-int8-") as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(model.SerializeToString())
        quantize_static(
            str(source),
            str(target),
            _Batches(input_name, inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*PRODUCTS, *(BETWEEN if convolutional else ())],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=loose,
        )
        return onnx.load(str(target))
