"""Networks in which no layer lies before the features: their own doubt stands in for a second opinion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export import ExportConfig, export_defended
from nip_export.attach.recover import recover_spec
from nip_export.defence.statistics import log_softmax
from nip_runtime.errors import ExportError
from nip_runtime.file.names import EARLY, RAW_LOGITS
from nip_runtime.operate.card import model_card
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.session import DefendedSession
from tests.export.made import open_file


class Squared(nn.Module):
    """A last layer that is not linear."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x)
        return scores * scores.abs()


def blobs(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three overlapping clouds of 12 values in [0, 1]."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    centres = np.random.default_rng(0).uniform(0.3, 0.7, (3, 12))
    return (centres[labels] + random.normal(0, 0.08, (count, 12))).clip(0, 1).astype(np.float32), labels


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
        x, y = (torch.from_numpy(array) for array in blobs(400, 1))
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(120):
            optimiser.zero_grad()
            F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return model


def test_it_is_exported_and_said(net: nn.Module, tmp_path: Path) -> None:
    report = export_defended(
        net, *blobs(600, 2), tmp_path / "m.onnx", config=ExportConfig(ascent_steps=3, benign_budget=0.05)
    )
    assert report.plan.early == ()
    assert "no layer lies before the features; how sure the network is stands in" in report.summary()
    with DefendedSession(tmp_path / "m.onnx", device="cpu") as session:
        inputs, labels = blobs(100, 3)
        answer = session.predict(inputs)
        with torch.no_grad():
            np.testing.assert_allclose(answer.raw_logits, net(torch.from_numpy(inputs)), rtol=1e-4, atol=1e-4)
        assert (answer.labels == labels).mean() > 0.85


def test_policy_always_has_nothing_to_answer_by(net: nn.Sequential, tmp_path: Path) -> None:
    data = blobs(600, 2)
    with pytest.raises(ExportError, match=r"no layer before the features '1'.*policy always answers by"):
        export_defended(net, *data, tmp_path / "m.onnx", config=ExportConfig(policy="always"))
    assert not list(tmp_path.iterdir())


def test_the_doubt_is_that_of_the_logits_whatever_they_are_made_by(
    net: nn.Sequential, tmp_path: Path
) -> None:
    last = net[2]
    assert isinstance(last, nn.Linear)
    path, data = tmp_path / "m.onnx", blobs(600, 2)
    report = export_defended(
        nn.Sequential(net[0], net[1], Squared(last)),
        *data,
        path,
        config=ExportConfig(ascent_steps=3, benign_budget=0.05),
    )
    spec, manifest = report.spec, report.manifest
    assert spec.readouts == () and spec.gate.early_weight == 0
    assert [tap.name for tap in manifest.defence.taps] == [manifest.defence.influence_layer]
    assert manifest.defence.early == () and manifest.verification.argmax_agreement == 1
    stored = [tensor.name for tensor in onnx.load(path).graph.initializer]
    assert not [name for name in stored if name.startswith("nip/readout/")], "nothing is stored twice"
    kinds = {tap.name: tap.kind for tap in report.plan.layers}
    assert recover_spec(path, kinds).readouts == ()
    part = tmp_path / "part.onnx"
    part.write_bytes(Sliceable(path.read_bytes()).part(["input"], [RAW_LOGITS, EARLY]))
    inputs, _ = blobs(50, 3)
    raw, early = open_file(part).run([RAW_LOGITS, EARLY], {"input": inputs})
    np.testing.assert_allclose(early, log_softmax(raw), atol=1e-5)
    assert "none, how sure the network is stands in" in model_card("m.onnx", manifest)
