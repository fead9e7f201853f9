"""Files as others write them: every axis open, other domains and endings."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from nip_export import from_onnx
from nip_export.commands.export import _network
from nip_export.network.rebuilt import OnnxNetwork
from nip_runtime.errors import ExportError
from tests.onnx_in.made import CHANNELS, CLASSES, SIZE, Floats, Form, answers, bars, classifier

pytest.importorskip("onnx2fx", reason="the extra onnx-in is not installed")

IMAGES = bars(6, seed=3)[0]


def logits_of(network: OnnxNetwork) -> Floats:
    x = torch.from_numpy((IMAGES / 255).astype(np.float32).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        found: Floats = network(x).numpy()
    return found


def ending(
    made: onnx.ModelProto, nodes: list[onnx.NodeProto], output: str, kind: int = TensorProto.FLOAT
) -> bytes:
    """The file with nodes behind its scores, and the last one's answer as its only output."""
    made.graph.node.extend(nodes)
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info(output, kind, ["batch", CLASSES]))
    return bytes(made.SerializeToString())


def own_softmax() -> bytes:
    """Probabilities without an operator Softmax."""
    nodes = [
        helper.make_node("Exp", ["scores"], ["powers"]),
        helper.make_node("ReduceSum", ["powers", "axis"], ["sum"], keepdims=1),
        helper.make_node("Div", ["powers", "sum"], ["chances"]),
    ]
    made = classifier(Form())
    made.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [1], [1]))
    return ending(made, nodes, "chances")


def opened_axes(made: onnx.ModelProto) -> None:
    """As Hugging Face's exporter names them."""
    names = ("batch_size", "num_channels", "height", "width")
    for axis, name in zip(made.graph.input[0].type.tensor_type.shape.dim, names, strict=True):
        axis.dim_param = name


def without_shape(made: onnx.ModelProto) -> None:
    made.graph.input[0].type.tensor_type.ClearField("shape")


@pytest.mark.parametrize("change", [opened_axes, without_shape])
def test_the_first_convolution_says_how_many_channels_there_are(
    change: Callable[[onnx.ModelProto], None],
) -> None:
    made = classifier(Form())
    change(made)
    content = bytes(made.SerializeToString())
    network = from_onnx(content, shape=(SIZE, SIZE))
    assert network.shape == (CHANNELS, SIZE, SIZE)
    assert np.allclose(logits_of(network), answers(content, Form(), IMAGES), atol=1e-4)
    with pytest.raises(ExportError, match=r"leaves the size of its input open: \(3, \?, \?\)"):
        from_onnx(content)


def heard(shape: list[int | str]) -> bytes:
    """A network of waveforms, whose first operator is a BatchNorm."""
    rng = np.random.default_rng(0)
    stored = {name: np.full(1, value, np.float32) for name, value in (("one", 1), ("zero", 0))}
    stored["kernel"] = rng.normal(size=(4, 1, 8)).astype(np.float32)
    nodes = [
        helper.make_node("BatchNormalization", ["wave", "one", "zero", "zero", "one"], ["norm"]),
        helper.make_node("Conv", ["norm", "kernel"], ["bands"], strides=[4]),
        helper.make_node("GlobalAveragePool", ["bands"], ["means"]),
        helper.make_node("Flatten", ["means"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("wave", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def test_recordings_have_one_channel(tmp_path: Path) -> None:
    """Also where the file leaves every axis open."""
    plain = tmp_path / "wave.onnx"
    plain.write_bytes(heard(["batch", "channels", "samples"]))
    asked = Namespace(
        onnx=plain, weights=None, size=None, preprocess=None, samples=400, output=None, bgr=False
    )
    network = _network(asked)
    assert isinstance(network, OnnxNetwork) and network.shape == (1, 400)
    assert from_onnx(plain, shape=(400,)).shape == (1, 400)
    plain.write_bytes(heard(["batch", 400]))
    with pytest.raises(ExportError, match=r"\(1, 400\) was asked for; export it anew, to take what is asked"):
        _network(asked)


def test_the_standard_domain_by_its_long_name() -> None:
    made = classifier(Form())
    for each in (*made.opset_import, *made.graph.node):
        each.domain = "ai.onnx"
    content = bytes(made.SerializeToString())
    assert np.allclose(logits_of(from_onnx(content)), answers(content, Form(), IMAGES), atol=1e-4)


@pytest.mark.parametrize("softmax", [False, True])
def test_scores_that_are_widened_at_the_end(softmax: bool) -> None:
    nodes = [helper.make_node("Cast", ["scores"], ["wide"], to=TensorProto.DOUBLE)]
    if softmax:
        nodes = [helper.make_node("Softmax", ["scores"], ["chances"], axis=1), *nodes]
        nodes[1].input[0] = "chances"
    network = from_onnx(ending(classifier(Form()), nodes, "wide", TensorProto.DOUBLE))
    wanted = answers(bytes(classifier(Form()).SerializeToString()), Form(), IMAGES)
    assert np.allclose(logits_of(network), wanted, atol=1e-4)


def test_probabilities_of_the_files_own_making_name_what_they_are_made_of() -> None:
    with pytest.raises(ExportError, match=r"--output NAME\); its last Exp reads 'scores'"):
        from_onnx(own_softmax())
    network = from_onnx(own_softmax(), output="scores")
    wanted = answers(bytes(classifier(Form()).SerializeToString()), Form(), IMAGES)
    assert network.names == ("pixels", "scores")
    assert np.allclose(logits_of(network), wanted, atol=1e-4)


def test_a_caller_without_gradients() -> None:
    content = bytes(classifier(Form()).SerializeToString())
    with torch.inference_mode():
        network = from_onnx(content)
    assert not any(parameter.is_inference() for parameter in network.parameters())


def test_two_softmaxes() -> None:
    nodes = [
        helper.make_node("Softmax", ["scores"], ["chances"], axis=1),
        helper.make_node("Softmax", ["chances"], ["again"], axis=1),
    ]
    with pytest.raises(ExportError, match=r"its last Softmax reads 'scores'"):
        from_onnx(ending(classifier(Form()), nodes, "again"))


def test_other_precisions_are_named() -> None:
    out = [helper.make_node("Cast", ["scores"], ["half"], to=TensorProto.FLOAT16)]
    with pytest.raises(ExportError, match=r"answers in another precision \(half: float16\)"):
        from_onnx(ending(classifier(Form()), out, "half", TensorProto.FLOAT16))
    more = [
        helper.make_node("Cast", ["middle"], ["narrow"], to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["narrow"], ["narrow_relu"]),
        helper.make_node("Cast", ["narrow_relu"], ["middle_out"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(ExportError, match=r"computes in half precision \(Cast in float16\)"):
        from_onnx(bytes(classifier(Form(more=more)).SerializeToString()))


def test_an_answer_without_rows() -> None:
    made = classifier(Form(rows=1))
    made.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [1], [0]))
    content = ending(made, [helper.make_node("Squeeze", ["scores", "axis"], ["alone"])], "alone")
    with pytest.raises(ExportError, match=r"answers with 'alone' of shape \(3\), expected one score per cl"):
        from_onnx(content)
