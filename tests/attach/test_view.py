"""The views in the graph: what onnxruntime computes is what numpy does, bit for bit."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_export.attach.editor import GraphEditor
from nip_export.attach.view import add_view
from nip_export.defence.views import View, see, view_name
from nip_runtime.file.names import BATCH_AXIS
from tests.attach.exported import open_session, serialize
from tests.maths.test_views import BOUNDS, CASES, Bounds, Floats, ids, inputs_of

ALLOWED = {"Add", "Div", "Gather", "Identity", "Max", "Mean", "Min", "Mul", "Neg", "Round", "Slice", "Sub"}
"""Operators that every runtime computes alike: they pick, compare, average or round."""


def graph_of(shape: tuple[int, ...], view: View, bounds: Bounds) -> bytes:
    """A model from inputs (N, *shape) to what a view shows of them."""
    inputs = ir.val("inputs", dtype=ir.DataType.FLOAT, shape=ir.Shape([BATCH_AXIS, *shape]))
    graph = ir.Graph([inputs], [], nodes=[], name="view", opset_imports={"": 17})
    editor = GraphEditor(graph, scope="nip/response")
    seen = editor.op("Identity", [add_view(editor, inputs, view, shape, bounds)], name="seen")
    seen.dtype, seen.shape = ir.DataType.FLOAT, ir.Shape([BATCH_AXIS, *shape])
    graph.outputs.append(seen)
    return serialize(ir.Model(graph, ir_version=8))


@cache
def session_of(shape: tuple[int, ...], view: View, bounds: Bounds) -> ort.InferenceSession:
    return open_session(graph_of(shape, view, bounds))


def shown(shape: tuple[int, ...], view: View, bounds: Bounds, inputs: Floats) -> Floats:
    found: Floats = session_of(shape, view, bounds).run(["seen"], {"inputs": inputs})[0]
    return found


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data(), bounds=st.sampled_from(BOUNDS))
def test_the_graph_sees_what_numpy_sees(
    shape: tuple[int, ...], view: View, data: Any, bounds: Bounds
) -> None:
    inputs = data.draw(inputs_of(shape, bounds))
    found = shown(shape, view, bounds, inputs)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, see(inputs, view, bounds))


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
def test_any_number_of_rows_gives_the_same_bits(shape: tuple[int, ...], view: View) -> None:
    inputs = np.random.default_rng(0).random((17, *shape), np.float32)
    whole = shown(shape, view, (0.0, 1.0), inputs)
    np.testing.assert_array_equal(whole, see(inputs, view))  # a zero may have another sign
    for size in (1, 3):
        parts = [shown(shape, view, (0.0, 1.0), inputs[i : i + size]) for i in range(0, 17, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert shown(shape, view, (0.0, 1.0), inputs[:0]).shape == (0, *shape)


@pytest.mark.parametrize(("shape", "view"), CASES, ids=ids)
def test_a_view_is_made_of_plain_operators_and_stores_next_to_nothing(
    shape: tuple[int, ...], view: View
) -> None:
    content = graph_of(shape, view, (0.0, 1.0))
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= ALLOWED
    assert len(content) < 20_000, view_name(view, rho=False)
