from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export.attach.backbone import export_backbone
from nip_export.attach.opset import REDUCTIONS, LowerOpsetPass
from nip_runtime.errors import ExportError
from tests.attach.exported import close, open_session, run, serialize
from tests.models import seeded

X = np.random.default_rng(0).uniform(0.1, 1.0, (2, 6, 5, 7)).astype(np.float32)


def opset18(
    op_type: str, constants: dict[str, np.ndarray] | None = None, *, inputs: list[str] | None = None,
    outputs: int = 1, **attributes: Any,
) -> ir.Model:  # fmt: skip
    """One operator on x (2, 6, 5, 7), with constant inputs."""
    constants = constants or {}
    names = inputs if inputs is not None else ["x", *constants]
    made = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, made, **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6, 5, 7])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


LOWERED = {
    **{f"{op}-axes": opset18(op, {"axes": ints(-1, 1)}, keepdims=0) for op in REDUCTIONS},
    **{f"{op}-all": opset18(op) for op in REDUCTIONS},
    "split-count": opset18("Split", outputs=2, axis=2, num_outputs=2),
    "split-sizes": opset18("Split", {"sizes": ints(1, 5)}, outputs=2, axis=1),
    "pad-axes": opset18(
        "Pad",
        {"pads": ints(1, 0, 2, 3), "axes": ints(-1, 2)},
        inputs=["x", "pads", "", "axes"],
        mode="reflect",
    ),
    "pad": opset18("Pad", {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "value": np.array(2.0, np.float32)}),
    "pad-around": opset18("Pad", {"pads": ints(0, 0, 2, 1, 0, 0, 0, 7)}, mode="wrap"),
    "pad-around-axes": opset18(
        "Pad", {"pads": ints(3, 1), "axes": ints(-1)}, inputs=["x", "pads", "", "axes"], mode="wrap"
    ),
    "resize": opset18(
        "Resize",
        {"scales": np.array([1, 1, 2, 2], np.float32)},
        inputs=["x", "", "scales"],
        mode="linear",
        antialias=0,
        keep_aspect_ratio_policy="stretch",
    ),
    "mish": opset18("Mish"),
    "lp-pool": opset18("LpPool", kernel_shape=[2, 2], p=2, ceil_mode=0, dilations=[1, 1]),
    "untouched": opset18("LayerNormalization", {"scale": np.ones(7, np.float32)}),
}


@pytest.mark.parametrize("name", LOWERED)
def test_lowered_operator_computes_the_same(name: str) -> None:
    model = LOWERED[name]
    before = open_session(serialize(model)).run(None, {"x": X})
    LowerOpsetPass()(model)
    lowered = serialize(model)
    onnx.checker.check_model(onnx.load_from_string(lowered), full_check=True)
    assert model.opset_imports == {"": 17}
    for after, reference in zip(open_session(lowered).run(None, {"x": X}), before, strict=True):
        np.testing.assert_allclose(after, reference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "model"),
    [
        ("BitwiseNot", opset18("BitwiseNot")),
        (
            "Resize",
            opset18(
                "Resize",
                {"scales": np.array([1, 1, 0.5, 0.5], np.float32)},
                inputs=["x", "", "scales"],
                mode="linear",
                antialias=1,
            ),
        ),
        (
            "ScatterND",
            opset18("ScatterND", {"i": ints(0, 1).reshape(2, 1), "u": X}, reduction="max"),
        ),
        ("LpPool", opset18("LpPool", kernel_shape=[2, 2], p=2, ceil_mode=1)),
    ],
)
def test_operators_without_an_older_form_are_named(op_type: str, model: ir.Model) -> None:
    with pytest.raises(ExportError, match=f"opset 17 cannot express.*: {op_type};"):
        LowerOpsetPass()(model)


def test_only_opset_18_is_taken() -> None:
    model = opset18("Relu")
    LowerOpsetPass()(model)
    with pytest.raises(ir.passes.PreconditionError, match="got opset 17"):
        LowerOpsetPass()(model)


class Assorted(nn.Module):
    """Layers whose ONNX form changed between opset 17 and 20, or is composed of several operators."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.group = nn.GroupNorm(2, 8)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(F.mish(self.group(self.conv(x))))
        first, second, third = torch.split(x, [2, 3, 3], 1)
        x = F.pad(torch.cat((third, first, second), 1), (1, 1, 2, 1), mode="reflect")
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = F.hardswish(x) + F.silu(x) + F.gelu(x) + F.gelu(x, approximate="tanh") + F.elu(x) + F.softplus(x)
        pooled = x.amax((2, 3)) + x.std((2, 3)) + torch.logsumexp(x, (2, 3)) + x.abs().sum((2, 3)) / 100
        return self.fc(self.norm(pooled))  # type: ignore[no-any-return]


def test_assorted_layers_agree_with_torch() -> None:
    model, x = seeded(Assorted), torch.rand(3, 3, 12, 12)
    exported = serialize(export_backbone(model, x, ["norm"]).model)
    onnx.checker.check_model(onnx.load_from_string(exported), full_check=True)
    with torch.no_grad():
        assert close(run(exported, input=x.numpy())["logits"], model(x))


def test_the_onnxruntime_reading_of_negative_axes_that_the_rule_avoids() -> None:
    """If this fails, onnxruntime was mended and the axes may be left as they are."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[-1], keepdims=0)],
        "negative",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros((0, 4, 5), np.float32)})[0].shape != (0, 4)
