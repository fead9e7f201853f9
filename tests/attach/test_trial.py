"""The trial export: what can't be exported is told before anything costly, with the operator named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from nip_export import ExportConfig, export_defended
from nip_export.attach.backbone import Backbone, export_backbone
from nip_export.attach.reshapes import sizes_in
from nip_export.attach.trial import try_out
from nip_export.network.tapped import TappedNetwork
from nip_export.support.progress import Advance
from nip_runtime.errors import ExportError

EXAMPLE = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))


class Products(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nihw,njhw->nij", x, x).flatten(1)


def small(middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    convs = [layer for given in (3, 4) for layer in (nn.Conv2d(given, 4, 3, padding=1), nn.ReLU())]
    model = nn.Sequential(*convs, middle, nn.Flatten(), nn.LazyLinear(3)).eval()
    model(EXAMPLE)
    return model


def exported(model: nn.Module, taps: tuple[str, ...] = ("0", "1")) -> tuple[Backbone, TappedNetwork]:
    network = TappedNetwork(model, taps, mean=None, std=None)
    return export_backbone(model, EXAMPLE, taps), network


@pytest.mark.parametrize(
    ("middle", "reason"),
    [(nn.GroupNorm(2, 4), None), (nn.AvgPool2d(2), None), (Products(), "Einsum")],
)
def test_what_runs_without_rows_is_told(middle: nn.Module, reason: str | None) -> None:
    backbone, network = exported(small(middle))
    assert try_out(backbone, network, EXAMPLE).needs_a_row == reason


def test_the_earliest_layer_that_differs_from_torch_is_named() -> None:
    backbone, network = exported(small(nn.AvgPool2d(2)))
    other = copy.deepcopy(network)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(ExportError, match=r"differs from torch by .* in the output of layer '0' at batch 1"):
        try_out(backbone, other, EXAMPLE)


class Stages:
    """Who waits, and what was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def __call__(self, title: str, total: int) -> Advance:
        self.begun.append(title)
        return lambda count: None


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        (nn.AdaptiveMaxPool2d(3), "ONNX has no form of adaptive_max_pool2d as layer '4' uses it; express it"),
        (nn.UpsamplingBilinear2d(scale_factor=2), None),
    ],
)
def test_an_operator_without_a_form_is_named_before_the_first_pass(
    middle: nn.Module, message: str | None, tmp_path: Path
) -> None:
    random, stages = np.random.default_rng(0), Stages()
    images = random.random((300, 3, 8, 8), np.float32)
    labels = np.arange(300) % 3
    # The second model can be exported, and is refused for guessing, behind the passes over the images.
    wanted = message or "no better than guessing|at least (50|2 classes)|of at least 2 classes"
    with pytest.raises(ExportError, match=wanted) as caught:
        export_defended(
            small(middle), images, labels, tmp_path / "m.onnx", config=ExportConfig(top_k=1), progress=stages
        )
    assert "\x1b" not in str(caught.value)
    assert (stages.begun[-1] == "Trial export") is (message is not None)
    assert list(tmp_path.iterdir()) == []


def graph_of(make: Callable[[ir.Value], list[ir.Node]]) -> ir.Value:
    value = ir.val("x", ir.DataType.FLOAT, ir.Shape(["N", 6, 5]))
    return make(value)[-1].outputs[0]


def ints(*numbers: int) -> ir.Value:
    name = f"c{'_'.join(map(str, numbers))}"
    return ir.val(name, const_value=ir.tensor(np.array(numbers, np.int64), name=name))


def test_sizes_are_followed_through_the_operators_that_put_shapes_together() -> None:
    def make(x: ir.Value) -> list[ir.Node]:
        shape = ir.node("Shape", [x])
        last = ir.node("Slice", [shape.outputs[0], ints(-1), ints(2**63 - 1)])
        first = ir.node("Slice", [shape.outputs[0], ints(0), ints(-2), ints(0), ints(1)])
        middle = ir.node("Shape", [x], {"start": 1, "end": 2})
        parts = [first.outputs[0], ints(7, -1), last.outputs[0], middle.outputs[0]]
        return [shape, last, first, middle, ir.node("Concat", parts, {"axis": 0})]

    sizes = sizes_in(graph_of(make))
    assert sizes is not None
    shown = [size if isinstance(size, int) else size.value for size in sizes]
    assert shown == ["N", 7, None, 5, 6]


def test_sizes_that_values_decide_are_not_guessed() -> None:
    assert sizes_in(graph_of(lambda x: [ir.node("NonZero", [x])])) is None
    stepped = graph_of(
        lambda x: [
            shape := ir.node("Shape", [x]),
            ir.node("Slice", [shape.outputs[0], ints(0), ints(3), ints(0), ints(2)]),
        ]
    )
    assert sizes_in(stepped) is None
