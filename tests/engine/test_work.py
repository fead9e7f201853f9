"""The least work that a file states, against a count of our own with onnx's shape inference."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nip_runtime.file.artifact import read_artifact
from nip_runtime.run.engine import work
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import plain_part
from tests.engine.test_cut import NAMES, golden


def multiply_adds(content: bytes) -> int:
    """Of one row, by each operator's definition."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    made = {
        value.name: [length.dim_value for length in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    weights = {tensor.name: numpy_helper.to_array(tensor).shape for tensor in model.graph.initializer}
    counted = 0
    for node in model.graph.node:
        if node.op_type == "Conv":  # every output value is a sum over one filter
            counted += prod(made[node.output[0]][1:]) * prod(weights[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            counted += prod(weights[node.input[1]])
    return counted


def longer(model: Sliceable, name: str, multiply_adds: float, threads: int = 1) -> bool:
    least_us = 1e6 * multiply_adds / (work._PER_CORE * threads)
    return work.surely_longer(model, read_artifact(golden(name)[0]).manifest, least_us, threads=threads)


@pytest.mark.parametrize("threads", [1, 6])
@pytest.mark.parametrize("name", NAMES)
def test_the_backbone_alone_is_counted(name: str, threads: int) -> None:
    path, _ = golden(name)
    model = Sliceable(path.read_bytes())
    counted = multiply_adds(plain_part(model, read_artifact(path).manifest).content)
    assert counted > 10_000
    assert longer(model, name, counted * 0.999, threads)
    assert not longer(model, name, counted * 1.001, threads)


def product(weights: np.ndarray, shape: list[int | str] | None) -> Sliceable:
    """input · weights → nip_raw_logits, whose shape the file states or does not."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["made"]),
            helper.make_node("Identity", ["made"], ["nip_raw_logits"]),
        ],
        "product",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["N", 5, 8])],
        [helper.make_tensor_value_info("nip_raw_logits", onnx.TensorProto.FLOAT, ["N", 5, 3])],
        [numpy_helper.from_array(weights, "weights")],
        value_info=[helper.make_tensor_value_info("made", onnx.TensorProto.FLOAT, shape)] if shape else [],
    )
    return Sliceable(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(
    ("weights", "shape", "expected"),
    [
        (np.ones((8, 3), np.float32), ["N", 5, 3], 5 * 8 * 3),
        (np.ones((8, 3), np.float32), ["N", "T", 3], 8 * 3),
        (np.ones((8, 3), np.float32), None, 8 * 3),
        (np.ones((8, 3), np.int8), ["N", 5, 3], 0),  # what integers take is another matter
    ],
)
def test_what_the_file_leaves_open_counts_for_little(
    weights: np.ndarray, shape: list[int | str] | None, expected: int
) -> None:
    model = product(weights, shape)
    assert longer(model, "guarded", expected * 0.999)
    assert not longer(model, "guarded", expected * 1.001 + 0.001)
