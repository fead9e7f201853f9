"""Conversions that are not worth having, and what is said of them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nip_export import export_defended
from nip_export.precision import Agreement, check_agreement
from nip_runtime.cli.main import main
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Precision
from nip_runtime.file.rates import Rate
from tests.precision.made import CALIBRATION_SET, EXAMPLE, PROFILE_SET, config


def lopsided(factor: float) -> nn.Module:
    """The example with one channel `factor` times as large, and the next layer's weights as much smaller.

    In float32 it answers as before; rounded to steps of the largest channel, the others are nothing.
    """
    model = copy.deepcopy(EXAMPLE.model)
    first, second = (layer for layer in list(model.features)[:4] if isinstance(layer, nn.Conv2d))
    norm = model.features[1]
    with torch.no_grad():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight[0] *= factor
            norm.bias[0] *= factor
        else:
            first.weight[0] *= factor
            assert first.bias is not None
            first.bias[0] *= factor
        second.weight[:, 0] /= factor
    return model.eval()


def export(model: nn.Module, precision: str, path: Path) -> None:
    export_defended(
        model,
        PROFILE_SET.images,
        PROFILE_SET.labels,
        path,
        calibration=(CALIBRATION_SET.images, CALIBRATION_SET.labels),
        config=config(precision, ascent_steps=1),
    )


def test_a_lopsided_network_answers_as_before() -> None:
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(lopsided(1e4)(images), EXAMPLE.model(images), rtol=1e-3, atol=1e-3)


def test_int8_that_costs_accuracy_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError, match=r"converting to int8 costs \d+\.\d points .* at most 2; .*fp32"):
        export(lopsided(1e4), "int8", path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.onnx"]


def test_fp16_that_overflows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"activations of the model reach .*e\+0\d on benign images.*fp16"):
        export(lopsided(1e6), "fp16", tmp_path / "f.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("right", "difference", "message"),
    [
        (98, 3.0, None),
        (97, 3.0, "costs 3.0 points"),
        (100, np.inf, "not finite"),
        (100, np.nan, "not finite"),
    ],
)
def test_what_may_be_lost(right: int, difference: float, message: str | None) -> None:
    found = Agreement(
        same_label=Rate(97, 100),
        max_abs_logit_difference=difference,
        accuracy_fp32=Rate(100, 100),
        accuracy=Rate(right, 100),
    )
    if message is None:
        check_agreement(found, Precision.INT8)
        assert found.info().same_label == Rate(97, 100)
        return
    with pytest.raises(ExportError, match=message):
        check_agreement(found, Precision.INT8)


def test_the_command_line_knows_three_precisions(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["export", "--model", "m:f", "--data", "d", "--out", "o.onnx", "--precision", "int4"]
    assert main(given) == 2
    said = capsys.readouterr().err.strip()
    assert "--precision" in said and "int4" in said and "fp16" in said
