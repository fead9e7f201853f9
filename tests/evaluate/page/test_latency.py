from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nip_evaluate.report.page import measure_latency
from nip_runtime.errors import InputError

WIDTH = 512


def write(path: Path, layers: int) -> Path:
    """A file of so many large matrix products in a row."""
    weight = (np.eye(WIDTH) / 2).astype(np.float32)
    nodes = [helper.make_node("MatMul", [f"x{n}", "w"], [f"x{n + 1}"]) for n in range(layers)]
    shape: list[str | int | None] = ["N", WIDTH]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def test_more_work_takes_longer(tmp_path: Path) -> None:
    plain, defended = write(tmp_path / "plain.onnx", 1), write(tmp_path / "defended.onnx", 60)
    images = np.random.default_rng(0).random((40, WIDTH)).astype(np.float32)
    found = measure_latency(plain, defended, images, batch=32, rounds=9, runs_per_round=4)
    assert (found.batch, found.rounds) == (32, 9)
    assert 0 < found.plain_ms < found.defended_ms
    # Sixty products against one; on a busy machine the one waits for its turn as long as the sixty do.
    assert found.ratio > 3


def test_too_large_a_batch_is_refused(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.onnx", 1)
    images = np.zeros((4, WIDTH), np.float32)
    with pytest.raises(InputError, match="a batch of 1 to 4 images"):
        measure_latency(plain, plain, images, batch=5)
    with pytest.raises(InputError, match="at least one round"):
        measure_latency(plain, plain, images, batch=1, rounds=0)
