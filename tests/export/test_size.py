"""Weights stand in file and memory once, measured on a network of ResNet-18's widths and depth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nip_export import export_defended
from tests.export.networks import fitted_resnet18, net

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
def test_the_defended_file_is_hardly_larger_than_the_plain_one(tmp_path: Path) -> None:
    case = net("resnet")
    images, labels = case.split("calibration", 500)
    path, plain = tmp_path / "defended.onnx", tmp_path / "plain.onnx"
    report = export_defended(
        fitted_resnet18(),
        images,
        labels,
        path,
        config=case.config(mean=None, std=None, ascent_steps=1, batch_size=64),
        plain_path=plain,
    )
    assert report.plain_size_bytes > 10e6
    bank = report.manifest.defence.bank.size_bytes
    assert report.size_bytes <= LIMIT * report.plain_size_bytes + bank
    # Much less in truth: node descriptions and read-outs, no weights.
    assert report.size_bytes - report.plain_size_bytes - bank < 500_000
    once, twice = memory_after_load(plain), memory_after_load(path)
    for measure in ("added", "resident"):
        ratio = twice[measure] / once[measure]
        print(f"{measure}: {twice[measure] / 2**20:.1f} MiB against {once[measure] / 2**20:.1f}, {ratio:.3f}")
        assert ratio <= LIMIT, f"{measure}: {twice[measure]} B defended, {once[measure]} B plain"
