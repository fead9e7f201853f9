from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nip_export.attach.backbone import export_backbone
from tests.attach.exported import serialize
from tests.attach.two_pass import two_passes
from tests.models import SmallResNet, case, seeded

LIMIT = 1.15

MEASURE = """
import json, sys
import onnxruntime as ort, psutil
options = ort.SessionOptions()
options.intra_op_num_threads = 1
process = psutil.Process()
before = process.memory_info().rss
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
after = process.memory_info().rss
print(json.dumps({"added": after - before, "resident": after}))
"""


def memory_after_load(path: Path) -> dict[str, int]:
    """Bytes that a fresh process holds after opening a model, and how many of them opening it added.

    The least of three: what the allocator keeps of freed memory differs from run to run by a tenth.
    """
    runs: list[dict[str, int]] = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True
        )
        runs.append(json.loads(done.stdout))
    return {name: min(run[name] for run in runs) for name in runs[0]}


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
