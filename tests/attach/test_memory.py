from __future__ import annotations

from pathlib import Path

import pytest

from nip_export.attach.backbone import export_backbone
from tests.attach.exported import serialize
from tests.attach.two_pass import two_passes
from tests.memory import memory_after_load
from tests.models import SmallResNet, case, seeded

LIMIT = 1.15


@pytest.mark.slow
def test_two_passes_keep_weights_in_memory_once(tmp_path: Path) -> None:
    """ResNet-18's widths and depth, 45 MB: a second set of weights in memory would be plain to see."""
    net = seeded(lambda: SmallResNet(widths=(64, 128, 256, 512), depth=2))
    model = export_backbone(net, case("resnet").batch(1), ["stages.0.0"]).model
    plain, double = tmp_path / "plain.onnx", tmp_path / "double.onnx"
    plain.write_bytes(serialize(model))
    two_passes(model, ["logits"])
    double.write_bytes(serialize(model))
    assert plain.stat().st_size > 40e6
    assert double.stat().st_size <= LIMIT * plain.stat().st_size
    once, twice = memory_after_load(plain), memory_after_load(double)
    for measure in ("added", "resident"):
        ratio = twice[measure] / once[measure]
        assert ratio <= LIMIT, f"{measure}: {twice[measure]} B for two passes, {once[measure]} B for one"
