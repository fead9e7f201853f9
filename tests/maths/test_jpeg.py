"""The round trip through JPEG: against a real encoder, against exact arithmetic, in torch and in a graph."""

from __future__ import annotations

import cv2
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from nip_export.attach.editor import GraphEditor
from nip_export.attach.view import add_view
from nip_export.defence.jpeg import round_trip, round_trip_torch
from nip_export.defence.views import check_view
from nip_runtime.errors import ExportError
from nip_runtime.file.jpeg import QUALITIES, planes
from nip_runtime.file.manifest import ViewStep
from tests.photographs import as_input, encoded, photograph

Floats = NDArray[np.float32]
UNIT = (0.0, 1.0)
SHAPES = ((3, 32, 32), (3, 21, 37), (1, 28, 28), (1, 9, 16), (3, 3, 5))


def in_graph(inputs: Floats, step: ViewStep, bounds: tuple[float, float] = UNIT) -> Floats:
    """What onnxruntime makes of the operators."""
    shape = inputs.shape[1:]
    given = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape(["n", *shape]))
    graph = ir.Graph([given], [], nodes=[], opset_imports={"": 17}, name="view")
    seen = add_view(GraphEditor(graph, scope="view"), given, (step,), shape, bounds)
    seen.shape = given.shape
    graph.outputs.append(seen)
    model = ir.to_proto(ir.Model(graph, ir_version=8)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: Floats = session.run(None, {"x": inputs})[0]
    return found


@pytest.mark.parametrize("quality", QUALITIES.values())
def test_the_loss_is_that_of_a_real_encoder(quality: int) -> None:
    image = photograph()
    found = round_trip(as_input(image), quality, UNIT)[0].transpose(1, 2, 0) * 255
    wanted = encoded(image, quality).astype(np.float32)
    apart, lost = np.abs(found - wanted).mean(), np.abs(wanted - image).mean()
    assert apart < 1, "levels: the decoder rounds three times where we do not"
    assert apart < 0.4 * lost


@pytest.mark.parametrize(("step", "quality"), QUALITIES.items())
def test_an_image_that_was_stored_so_stays_and_small_noise_goes(step: ViewStep, quality: int) -> None:
    stored = as_input(encoded(photograph(), quality))
    kept = np.abs(round_trip(stored, quality, UNIT) - stored).mean() * 255
    assert kept < 1.3
    if quality <= 75:
        noise = np.random.default_rng(1).choice([-1.0, 1.0], stored.shape) * 2 / 255
        noisy = (stored + noise).clip(0, 1).astype(np.float32)
        assert np.abs(round_trip(noisy, quality, UNIT) - stored).mean() < 0.7 * np.abs(noisy - stored).mean()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("quality", [50, 75, 90])
def test_what_is_rounded_is_exact_in_float32(shape: tuple[int, ...], quality: int) -> None:
    """The largest sums there can be stay below 2²⁴, so that no order of adding and no fused step matters."""
    for part in planes(*shape[1:], quality, colours=shape[0] == 3):
        for numbers in (part.rows, part.columns):
            assert np.array_equal(numbers, np.rint(numbers))
        first = 128 * np.abs(part.columns).sum(0).max()
        assert first < 2**24
        between = np.ceil(first * part.between)
        assert between * np.abs(part.rows).sum(0).max() < 2**24


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("step", [ViewStep.JPEG_50, ViewStep.JPEG_75, ViewStep.JPEG_90])
@pytest.mark.parametrize("bounds", [UNIT, (-1.0, 1.0), (0.0, 255.0)], ids=str)
def test_torch_and_the_graph_see_what_numpy_sees(
    shape: tuple[int, ...], step: ViewStep, bounds: tuple[float, float]
) -> None:
    low, high = bounds
    random = np.random.default_rng(2)
    smooth = cv2.resize(random.random((5, 6, shape[0])), shape[:0:-1]).reshape(*shape[1:], -1)
    images = np.stack([random.random(shape), smooth.transpose(2, 0, 1), np.zeros(shape), np.ones(shape)])
    inputs = (images * (high - low) + low).astype(np.float32)
    wanted = round_trip(inputs, QUALITIES[step], bounds)
    assert low <= wanted.min() and wanted.max() <= high and wanted.dtype == np.float32
    tolerance = 2e-6 * (high - low)
    torched = round_trip_torch(torch.from_numpy(inputs), QUALITIES[step], bounds).numpy()
    np.testing.assert_allclose(torched, wanted, rtol=0, atol=tolerance)
    np.testing.assert_allclose(in_graph(inputs, step, bounds), wanted, rtol=0, atol=tolerance)


def test_rows_are_independent_and_none_are_none() -> None:
    inputs = as_input(photograph(40, 40)).repeat(5, 0)
    inputs[3] = inputs[3, :, ::-1]
    whole = in_graph(inputs, ViewStep.JPEG_75)
    for row in range(5):
        assert np.array_equal(in_graph(inputs[row : row + 1], ViewStep.JPEG_75)[0], whole[row])
    assert in_graph(inputs[:0], ViewStep.JPEG_75).shape == (0, 3, 40, 40)


def test_gradients_pass() -> None:
    """Rounding hands gradients on, so that an attacker's gradient through it is of use to him."""
    inputs = torch.from_numpy(as_input(photograph(32, 32))).requires_grad_(True)
    seen = round_trip_torch(inputs, 75, UNIT)
    (gradient,) = torch.autograd.grad(seen.mean(), inputs)
    assert float(gradient.sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(40,), (1, 20), (2, 32, 32), (4, 32, 32)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ExportError, match=r"view: jpeg75 needs images of 1 or 3 channels, got .*; leave it out"
    ):
        check_view((ViewStep.JPEG_75,), shape, UNIT)
