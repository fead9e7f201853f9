"""Small trained classifiers as ONNX files, in the forms that other people's files have.

Each sees images of 3 × 10 × 10 pixels with bars that run one of three ways, through random convolutions and a
last layer fitted by least squares: right about nearly all of them, made in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIZE, CLASSES, WIDTH = 3, 10, 3, 12
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """How a file is made.

    Attributes:
        opset: of it.
        rows: a fixed number, or None.
        open_size: whether height and width are left open.
        channels_last: whether it takes (N, H, W, C).
        is_uint8: whether it takes whole numbers and scales inside.
        ending: operator behind the logits.
        constants: whether its weights stand in Constant nodes.
        one_score: whether it answers one score z for two classes.
        reshape: the reshape before the last layer; None: Flatten.
        more: nodes in the middle, from "middle" to "middle_out".
    """

    opset: int = 17
    rows: int | None = None
    open_size: bool = False
    channels_last: bool = False
    is_uint8: bool = False
    ending: str | None = None
    constants: bool = False
    one_score: bool = False
    reshape: tuple[int, ...] | None = None
    more: Sequence[onnx.NodeProto] = field(default_factory=tuple)

    @property
    def classes(self) -> int:
        return 2 if self.one_score else CLASSES


def bars(count: int, *, seed: int, classes: int = CLASSES) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (count, SIZE, SIZE, CHANNELS) uint8 with bars, and which way they run."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    rows, columns = np.mgrid[:SIZE, :SIZE]
    along = np.stack([rows, columns, rows + columns])[labels]
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    tint = rng.uniform(0.3, 1, (count, 1, 1, CHANNELS))
    light = 0.5 + 0.35 * np.sin(along * rng.uniform(1.6, 2.2, (count, 1, 1)) + phase)[..., None] * tint
    return np.rint(255 * np.clip(light + rng.normal(0, 0.05, light.shape), 0, 1)).astype(np.uint8), labels


def classifier(form: Form) -> onnx.ModelProto:
    """A trained classifier of this form."""
    rng = np.random.default_rng(7)
    weights: dict[str, NDArray[np.generic]] = {
        "conv1_weight": rng.normal(0, 0.4, (WIDTH, CHANNELS, 3, 3)).astype(np.float32),
        "scale": rng.uniform(0.5, 1.5, WIDTH).astype(np.float32),
        "shift": rng.normal(0, 0.2, WIDTH).astype(np.float32),
        "mean": rng.normal(0, 0.2, WIDTH).astype(np.float32),
        "variance": rng.uniform(0.5, 2, WIDTH).astype(np.float32),
        "conv2_weight": rng.normal(0, 0.15, (2 * WIDTH, WIDTH, 3, 3)).astype(np.float32),
        "conv2_bias": rng.normal(0, 0.1, 2 * WIDTH).astype(np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "three": np.array(3, np.float32),
        "sixth": np.array(6, np.float32),
        "full_scale": np.array(255, np.float32),
    }
    at, nodes = "pixels", list[onnx.NodeProto]()

    def add(op_type: str, inputs: Sequence[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op_type, list(inputs), [out], name=f"net/{out}", **attributes))
        return out

    if form.is_uint8:
        at = add("Cast", [at], "as_float", to=TensorProto.FLOAT)
        at = add("Div", [at, "full_scale"], "scaled")
    if form.channels_last:
        at = add("Transpose", [at], "channels_first", perm=[0, 3, 1, 2])
    at = add("Conv", [at, "conv1_weight"], "conv1", pads=[1, 1, 1, 1])
    at = add("BatchNormalization", [at, "scale", "shift", "mean", "variance"], "norm1")
    at = add("Relu", [at], "middle" if form.more else "relu1")
    nodes += form.more
    at = "middle_out" if form.more else at
    at = add("MaxPool", [at], "pool1", kernel_shape=[2, 2], strides=[2, 2])
    at = add("Conv", [at, "conv2_weight", "conv2_bias"], "conv2", pads=[1, 1, 1, 1])
    if form.opset >= 14:
        at = add("HardSwish", [at], "act2")
    else:  # as it was written before there was an operator
        plus = add("Add", [at, "three"], "plus3")
        limits = [plus, "low", "high"] if form.opset >= 11 else [plus]
        kept = add("Clip", limits, "relu6", **({} if form.opset >= 11 else {"min": 0.0, "max": 6.0}))
        at = add("Div", [add("Mul", [at, kept], "product"), "sixth"], "act2")
    at = add("GlobalAveragePool", [at], "pool2")
    if form.reshape is None:
        at = add("Flatten", [at], "features")
    else:
        weights["flat"] = np.array(form.reshape, np.int64)
        at = add("Reshape", [at, "flat"], "features")
    weights["head_weight"], weights["head_bias"] = fitted(form, nodes, weights)
    at = add("MatMul", [at, "head_weight"], "product_of_head")
    at = add("Add", [at, "head_bias"], "scores")
    if form.ending is not None:
        at = add(form.ending, [at], "ended", **({"axis": 1} if "Softmax" in form.ending else {}))
    return model(form, nodes, weights, at, [rows_of(form), 1 if form.one_score else form.classes])


def rows_of(form: Form) -> int | str:
    return form.rows if form.rows is not None else "batch"


def fitted(
    form: Form, nodes: list[onnx.NodeProto], weights: dict[str, NDArray[np.generic]]
) -> tuple[Floats, Floats]:
    """Last weights and biases, by ridge regression on what the layers before make of images."""
    images, labels = bars(300, seed=1, classes=form.classes)
    made = model(form, nodes, weights, "features", [rows_of(form), 2 * WIDTH]).SerializeToString()
    features = answers(made, form, images).reshape(len(images), -1)
    wanted = np.eye(form.classes)[labels] * 8 - 4
    if form.one_score:
        wanted = wanted[:, 1:]
    centre = features.mean(0)
    x = (features - centre).astype(np.float64)
    weight = np.linalg.solve(x.T @ x + 1e-4 * len(x) * np.eye(x.shape[1]), x.T @ (wanted - wanted.mean(0)))
    return weight.astype(np.float32), (wanted.mean(0) - centre @ weight).astype(np.float32)


def model(
    form: Form,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, NDArray[np.generic]],
    output: str,
    shape: Sequence[int | str],
) -> onnx.ModelProto:
    """Nodes and weights as a file; weights that no node reads are left out."""
    read = {name for node in nodes for name in node.input}
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items() if name in read]
    held = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in stored]
    size: list[int | str] = ["height", "width"] if form.open_size else [SIZE, SIZE]
    taken = [*size, CHANNELS] if form.channels_last else [CHANNELS, *size]
    kind = TensorProto.UINT8 if form.is_uint8 else TensorProto.FLOAT
    graph = helper.make_graph(
        [*(held if form.constants else ()), *nodes],
        "net",
        [helper.make_tensor_value_info("pixels", kind, [rows_of(form), *taken])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        () if form.constants else stored,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", form.opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def answers(content: bytes, form: Form, images: NDArray[np.uint8]) -> Floats:
    """What a file answers in onnxruntime, given images as it takes them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    x = images if form.is_uint8 else (images / 255).astype(np.float32)
    x = x if form.channels_last else x.transpose(0, 3, 1, 2)
    step = form.rows or len(x)
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: np.ascontiguousarray(x[i : i + step])})[0] for i in range(0, len(x), step)
    ]
    found: Floats = np.concatenate(parts)
    return found
