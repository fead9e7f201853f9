"""The profile is no narrower than what torch's exporter makes of ordinary layers, and as narrow at export."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export.attach.backbone import export_backbone
from nip_export.attach.writing import serialise
from nip_runtime.errors import ExportError
from nip_runtime.file.allowed import OPERATORS, OPSETS
from nip_runtime.file.artifact.growth import check_growth
from nip_runtime.file.artifact.structure import check_structure
from nip_runtime.file.container import parse_container


class Layer(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes of the input."""
        return self.function(x)


class Recurrent(nn.Module):
    """LSTM, GRU and a linear layer over (N, 12, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.second = nn.GRU(12, 6, batch_first=True)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 3)."""
        logits: Tensor = self.last(self.second(self.first(x)[0])[0][:, -1])
        return logits


def _image(*layers: nn.Module) -> tuple[nn.Module, Tensor]:
    ends = nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    return nn.Sequential(ends[0], *layers, *ends[1:]), torch.rand(2, 3, 16, 16)


ACTIVATIONS = nn.Sequential(
    nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.ELU(), nn.SELU(),
    nn.CELU(), nn.PReLU(), nn.LeakyReLU(), nn.Softplus(), nn.Softsign(), nn.Tanhshrink(), nn.ReLU6(),
)  # fmt: skip
NORMS = nn.Sequential(
    nn.GroupNorm(4, 8), nn.InstanceNorm2d(8, affine=True), nn.BatchNorm2d(8), nn.LayerNorm([16, 16])
)
RESIZES = nn.Sequential(
    nn.MaxPool2d(3, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(size=(20, 20)),
    nn.ReflectionPad2d(2), nn.ConvTranspose2d(8, 8, 3, 2), nn.AdaptiveAvgPool2d(7), nn.PixelUnshuffle(7),
    nn.Conv2d(8 * 49, 8, 1),
)  # fmt: skip
ENCODER = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")


@pytest.mark.parametrize(
    ("model", "example"),
    [
        pytest.param(*_image(ACTIVATIONS), id="activations"),
        pytest.param(*_image(NORMS), id="norms"),
        pytest.param(*_image(RESIZES), id="resizes"),
        pytest.param(
            *_image(Layer(lambda x: x * F.normalize(x.repeat(1, 1, 1, 1).cumsum(2), dim=1))), id="ops"
        ),
        pytest.param(
            nn.Sequential(ENCODER, nn.Flatten(), nn.Linear(16 * 32, 3)), torch.rand(2, 16, 32), id="attention"
        ),
        pytest.param(Recurrent(), torch.rand(2, 12, 8), id="recurrent"),
        pytest.param(
            nn.Sequential(Layer(lambda x: torch.fft.rfft(x).abs()), nn.Linear(65, 3)),
            torch.rand(2, 128),
            id="fft",
        ),
    ],
)
def test_what_torch_exports_for_ordinary_layers_is_within_the_profile(
    model: nn.Module, example: Tensor
) -> None:
    content = serialise(export_backbone(model.eval(), example, []).model)
    container = parse_container(content)
    check_structure(container)
    check_growth(container, content)


def test_what_the_reader_would_refuse_is_refused_at_export() -> None:
    def determinant(x: Tensor) -> Tensor:
        found: Tensor = torch.linalg.det(x)
        return x * found[..., None, None]

    model, example = _image(Layer(determinant))
    with pytest.raises(ExportError, match="contains Det, which no defended file may have"):
        export_backbone(model.eval(), example, [])


def test_the_profile_names_only_operators_that_exist() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert known >= OPERATORS
    since = {name: onnx.defs.get_schema(name, OPSETS[1]).since_version for name in OPERATORS}
    assert max(since.values()) <= OPSETS[1]
