from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.file.artifact import opened
from nip_runtime.run.engine.answers import Answers, EngineKind
from nip_runtime.run.engine.choose import open_engine
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.providers import Device, DeviceKind, SessionSettings
from nip_runtime.run.runners import DeviceRunner, HostRunner, Runner

CPU = Device(DeviceKind.CPU)
GOLDENS = sorted((Path(__file__).parents[1] / "goldens").glob("*.onnx"))
BATCHES = (8, 1, 8, 1, 4, 2)  # sizes that come again: their second run has its buffers already


def run(path: Path, images: NDArray[np.float32], kind: EngineKind, runner: Runner[Any]) -> list[Answers[Any]]:
    with opened(path) as (artifact, content):
        engine = open_engine(
            kind,
            Sliceable(content),
            artifact.manifest,
            device=CPU,
            settings=SessionSettings(threads=1),
            runner=runner,
        ).engine
    found, start = [], 0
    for count in BATCHES:
        tensor = runner.from_host(images[start : start + count])
        found.append(engine.run(tensor).map(runner.to_host))
        start += count
    return found


def check(path: Path, images: NDArray[np.float32], kind: EngineKind, runner: Runner[Any]) -> None:
    expected = run(path, images, EngineKind.FUSED, HostRunner())
    for mine, theirs in zip(run(path, images, kind, runner), expected, strict=True):
        for left, right in zip(mine.values, theirs.values, strict=True):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("kind", [EngineKind.FUSED, EngineKind.GATED])
@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_engines_give_the_same_bits_on_device_tensors(path: Path, kind: EngineKind, capture: bool) -> None:
    with np.load(path.with_suffix(".npz")) as stored:
        flagged = stored["flagged"]
        rows = np.flatnonzero(flagged)[:4].tolist() + np.flatnonzero(~flagged)[:20].tolist()
        images = (stored["images"][np.random.default_rng(0).permutation(rows)] / 255).astype(np.float32)
    assert len(images) == 24
    images = images[:, None]
    check(path, images, kind, DeviceRunner(CPU, capture=capture))


@pytest.mark.slow
def test_a_file_exported_now_gives_the_same_bits_on_device_tensors(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from nip_export import ExportConfig, export_defended
    from nip_export.demo.example import load_example

    example, path = load_example(), tmp_path / "small.onnx"
    profile, calibration = example.profile.take(np.arange(400)), example.calibration.take(np.arange(300))
    export_defended(
        example.model,
        profile.images,
        profile.labels,
        path,
        calibration=(calibration.images, calibration.labels),
        config=ExportConfig(mean=example.mean, std=example.std, ascent_steps=2, seed=1),
    )
    images = np.random.default_rng(0).random((24, 1, 28, 28), np.float32)
    images[::3] *= np.float32(0.2)
    for kind in (EngineKind.FUSED, EngineKind.GATED):
        for capture in (False, True):
            check(path, images, kind, DeviceRunner(CPU, capture=capture))
