"""Weights stand in file and memory once, measured on a network of ResNet-18's widths and depth."""

from __future__ import annotations

from pathlib import Path

import pytest

from nip_export import export_defended
from tests.export.networks import fitted_resnet18, net
from tests.memory import memory_after_load

LIMIT = 1.15


@pytest.mark.slow
def test_the_defended_file_is_hardly_larger_than_the_plain_one(tmp_path: Path) -> None:
    case = net("resnet")
    images, labels = case.split("calibration", 300)
    path, plain = tmp_path / "defended.onnx", tmp_path / "plain.onnx"
    report = export_defended(
        fitted_resnet18(),
        images,
        labels,
        path,
        config=case.config(mean=None, std=None, ascent_steps=1, batch_size=64, benign_budget=0.05),
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
