"""What no defence can be made of is refused in one sentence, before any image is read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from nip_export import from_onnx
from nip_export.onnx_in.load import compared, opened
from nip_runtime.errors import DependencyError, ExportError
from nip_runtime.file.allowed import OPERATORS
from tests.onnx_in.made import CHANNELS, SIZE, Form, classifier

pytest.importorskip("onnx2fx", reason="the extra onnx-in is not installed")

IMAGE = [1, CHANNELS, SIZE, SIZE]


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    *,
    kind: int = TensorProto.FLOAT,
    shape: Sequence[int | str] = ("N", CHANNELS, SIZE, SIZE),
    inputs: Sequence[str] = ("pixels",),
    answer: int = TensorProto.FLOAT,
    answers: Sequence[str] = ("scores",),
    domains: Sequence[str] = (),
) -> bytes:
    """A file of some nodes, from "pixels" to "scores"; it need not run."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, answer, ["N", 4]) for name in answers],
        [
            numpy_helper.from_array(np.ones((CHANNELS * SIZE * SIZE, 4), np.float32), "weight"),
            numpy_helper.from_array(np.ones((1, 8, SIZE), np.float32), "gates"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())


def node(op_type: str, inputs: str = "pixels", outputs: str = "scores", **more: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), **more)


FLAT = [node("Flatten", outputs="flat"), node("MatMul", "flat weight")]
REFUSED: dict[str, tuple[bytes, str]] = {
    "no ONNX file": (b"\x93NUMPY\x01", "expected an ONNX file, got the ONNX file, which is none"),
    "nothing in it": (b"", "which holds no operators"),
    "two inputs": (
        graph_of([*FLAT], inputs=("pixels", "mask")),
        r"takes 2 inputs \(pixels, mask\), expected one",
    ),
    "token numbers": (graph_of(FLAT, kind=TensorProto.INT64), "takes int64, expected float32, or uint8"),
    "half precision": (graph_of(FLAT, kind=TensorProto.FLOAT16), "takes float16, expected float32"),
    "labels alone": (
        graph_of([*FLAT[:1], node("ArgMax", "flat")], answer=TensorProto.INT64),
        "answers with whole numbers alone",
    ),
    "two outputs": (
        graph_of([*FLAT, node("Relu", "flat", "features")], answers=("scores", "features")),
        r"has 2 outputs \(scores, features\); say which",
    ),
    "trees": (
        graph_of([node("TreeEnsembleClassifier", domain="ai.onnx.ml")], domains=["ai.onnx.ml"]),
        r"a classical estimator \(TreeEnsembleClassifier\)",
    ),
    "optimised for one engine": (
        graph_of([node("FusedConv", "pixels weight", domain="com.microsoft")], domains=["com.microsoft"]),
        "outside the ONNX standard: com.microsoft::FusedConv",
    ),
    "a recurrent state": (
        graph_of([node("LSTM", "pixels gates gates", hidden_size=4)]),
        r"keeps a recurrent state \(LSTM\)",
    ),
    "a branch": (graph_of([node("If", then_branch=onnx.GraphProto(name="a"))]), r"branches or loops \(If\)"),
    "quantised": (
        graph_of([node("DequantizeLinear", "pixels weight")]),
        r"is quantised \(DequantizeLinear\)",
    ),
    "axes left open": (
        graph_of(FLAT, shape=("N", CHANNELS, "height", "width")),
        r"leaves the size of its input open: \(3, \?, \?\)",
    ),
    "no classifier": (
        graph_of([node("Relu")]),
        r"'scores' of shape \(\?, 3, 10, 10\), expected one score per class",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(ExportError, match=message) as refused:
        from_onnx(content)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("constants", [False, True], ids=["initializers", "Constant nodes"])
def test_weights_in_another_file_are_refused_with_the_cure(tmp_path: Path, constants: bool) -> None:
    made = classifier(Form(constants=constants))
    plain = tmp_path / "big.onnx"
    onnx.save(
        made, plain, save_as_external_data=True, location="big.data", size_threshold=0, convert_attribute=True
    )
    with pytest.raises(ExportError, match=r"weights in another file, 'big.data'.*onnx.load\('big.onnx'\)"):
        from_onnx(plain)
    # The cure, as the message has it.
    onnx.save(onnx.load(plain), tmp_path / "one.onnx")
    assert from_onnx(tmp_path / "one.onnx").shape == (CHANNELS, SIZE, SIZE)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ExportError, match=r"cannot read no-such\.onnx: No such file"):
        from_onnx("no-such.onnx")


def test_a_defended_file_is_refused() -> None:
    golden = Path(__file__).parents[1] / "goldens" / "guarded.onnx"
    with pytest.raises(ExportError, match=r"guarded.onnx is a defended file already"):
        from_onnx(golden)


def test_a_size_that_the_file_does_not_take() -> None:
    content = bytes(classifier(Form()).SerializeToString())
    with pytest.raises(
        ExportError, match=r"takes inputs \(3, 10, 10\) per sample.*\(3, 12, 12\) was asked for"
    ):
        from_onnx(content, shape=(12, 12))


def test_rows_that_are_folded_into_a_reshape_are_refused() -> None:
    """A window of 5 × 5 per row of the batch, written for one row: no number but 1 fits."""
    more = [
        helper.make_node("Reshape", ["middle", "windows"], ["split"]),
        helper.make_node("Softmax", ["split"], ["mixed"], axis=1),
        helper.make_node("Reshape", ["mixed", "maps"], ["middle_out"]),
        helper.make_node("Constant", [], ["windows"], value_ints=[2, 2, 1, 300]),
        helper.make_node("Constant", [], ["maps"], value_ints=[1, 12, 10, 10]),
    ]
    made = classifier(Form(rows=1, more=[*more[3:], *more[:3]], reshape=(1, -1)))
    with pytest.raises(ExportError, match="export it anew with a dynamic batch axis"):
        from_onnx(bytes(made.SerializeToString()))


def test_chance_is_refused() -> None:
    more = [
        helper.make_node("RandomNormalLike", ["middle"], ["noise"]),
        helper.make_node("Add", ["middle", "noise"], ["middle_out"]),
    ]
    with pytest.raises(ExportError, match="random operators: RandomNormalLike"):
        from_onnx(bytes(classifier(Form(more=more)).SerializeToString()))


def test_whatever_a_defended_file_may_hold_has_a_rebuild() -> None:
    """So no network is turned away for want of gradients alone."""
    onnx2fx = pytest.importorskip("onnx2fx")
    assert OPERATORS - set(onnx2fx.get_supported_ops("")) <= {"DFT"}


def test_an_output_is_chosen_by_name() -> None:
    made = classifier(Form())
    made.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 24]))
    content = bytes(made.SerializeToString())
    assert from_onnx(content, output="scores").names == ("pixels", "scores")
    with pytest.raises(ExportError, match="has no output 'logits'; it has scores, features"):
        from_onnx(content, output="logits")


def test_a_missing_converter_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx2fx", None)
    with pytest.raises(DependencyError, match=r'pip install "nip-runtime\[onnx-in\]"'):
        from_onnx(bytes(classifier(Form()).SerializeToString()))


def test_a_rebuild_that_answers_otherwise_is_refused() -> None:
    pair = opened(classifier(Form()).SerializeToString())
    assert max(pair.errors) < 1e-4
    with torch.no_grad():
        next(pair.network.parameters()).mul_(1.01)
    with pytest.raises(ExportError, match=r"its rebuild in torch made of .* off what the file does"):
        compared(pair)


def test_a_graph_that_answers_otherwise_is_refused() -> None:
    pair = opened(classifier(Form()).SerializeToString())
    other = classifier(Form())
    for stored in other.graph.initializer:
        if stored.name == "conv2_bias":
            stored.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(stored) + np.float32(0.5), stored.name)
            )
    with pytest.raises(ExportError, match=r"the graph made of .* off what the file does"):
        compared(replace(pair, source=replace(pair.source, content=other.SerializeToString())))
