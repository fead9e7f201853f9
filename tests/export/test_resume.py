"""An export that was stopped goes on: finished stages are not done again, and never taken for another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from nip_export import ExportConfig, ExportReport, export_defended
from nip_export.config import ExportConfig as Config
from nip_export.fit import stages
from nip_export.fit.kept import FACTS
from nip_export.support.progress import Advance
from nip_runtime.errors import ExportError
from tests.export.drawn import Drawn, blobs, trained

CONFIG = ExportConfig(ascent_steps=3, benign_budget=0.1, force=True, view="blur+rho")


class Stopped(Exception):
    """As when somebody presses Ctrl+C."""


class Watch:
    """Notes the stages that are begun, and stops at the beginning of one."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.begun: list[str] = []
        self.stop_at = stop_at

    def __call__(self, stage: str, total: int) -> Advance:
        if stage == self.stop_at:
            raise Stopped
        self.begun.append(stage)
        return lambda done: None


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return trained(blobs(2000, seed=1), 10, steps=150)


@pytest.fixture(scope="module")
def data() -> Drawn:
    return blobs(400, seed=3)


def export(
    network: nn.Module,
    data: Drawn,
    folder: Path | None,
    out: Path,
    *,
    config: Config = CONFIG,
    watch: Watch | None = None,
) -> ExportReport:
    return export_defended(
        network,
        data.images[:240],
        data.labels[:240],
        out,
        calibration=(data.images[240:], data.labels[240:]),
        config=config,
        progress=watch if watch is not None else Watch(),
        resume=folder,
    )


@pytest.fixture(scope="module")
def whole(network: nn.Module, data: Drawn, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The export that nobody stopped."""
    return export(network, data, None, tmp_path_factory.mktemp("whole") / "m.onnx")


@pytest.mark.parametrize("stop_at", [stages.CALIBRATION, stages.INVERSE, stages.RESPONSE])
def test_a_stopped_export_goes_on_to_the_same_file(
    network: nn.Module, data: Drawn, whole: ExportReport, tmp_path: Path, stop_at: str
) -> None:
    folder, first, second = tmp_path / "kept", Watch(stop_at), Watch()
    with pytest.raises(Stopped):
        export(network, data, folder, tmp_path / "m.onnx", watch=first)
    assert not (tmp_path / "m.onnx").exists()
    report = export(network, data, folder, tmp_path / "m.onnx", watch=second)
    assert report.manifest.digests == whole.manifest.digests
    assert [stage for stage in first.begun if stage in second.begun] == [stages.TRIAL]
    assert stop_at in second.begun
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.npz",
        FACTS,
        "influence.npz",
        "perturbations.npz",
        "profile.npz",
    ]


@pytest.fixture(scope="module")
def kept(network: nn.Module, data: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first pass over the images for profiles is finished."""
    root = tmp_path_factory.mktemp("resume")
    with pytest.raises(Stopped):
        export(network, data, root / "kept", root / "m.onnx", watch=Watch(stages.CALIBRATION))
    return root / "kept"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: {"config": replace(CONFIG, eps=0.01)}, r"another: eps \(0.03137\d* there, 0.01 now\); name"),
        (
            lambda: {"config": replace(CONFIG, view="mirror", seed=1)},
            r"view .*, seed \(0 there, 1 now\)",
        ),
        (lambda: {"data": blobs(400, seed=4)}, r"another: images \(sha256:.*, calibration images \(sha256:"),
        (lambda: {"network": trained(blobs(2000, seed=1), 10, steps=149)}, r"another: weights \(sha256:"),
    ],
    ids=["a setting", "two settings", "images", "weights"],
)
def test_another_export_is_refused_with_what_differs(
    network: nn.Module, data: Drawn, kept: Path, tmp_path: Path, change: Callable[[], Any], message: str
) -> None:
    watch = Watch()
    given = {"network": network, "data": data, "config": CONFIG} | change()
    with pytest.raises(ExportError, match=message):
        export(
            given["network"], given["data"], kept, tmp_path / "m.onnx", config=given["config"], watch=watch
        )
    assert watch.begun == []


def test_settings_without_effect_may_change(
    network: nn.Module, data: Drawn, kept: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, memory=2**30, batch_size=64)
    watch = Watch(stages.CALIBRATION)
    with pytest.raises(Stopped):
        export(network, data, kept, tmp_path / "m.onnx", config=config, watch=watch)
    assert watch.begun == [stages.TRIAL]


def test_damaged_and_foreign_folders_are_refused(network: nn.Module, data: Drawn, tmp_path: Path) -> None:
    folder, out = tmp_path / "kept", tmp_path / "m.onnx"
    with pytest.raises(Stopped):
        export(network, data, folder, out, watch=Watch(stages.CALIBRATION))
    content = (folder / "profile.npz").read_bytes()
    (folder / "profile.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ExportError, match=r"expected a finished stage in .*profile.npz, got a damaged file"):
        export(network, data, folder, out)
    (folder / FACTS).write_text("[", encoding="utf-8")
    with pytest.raises(ExportError, match="expected a folder of a stopped export at"):
        export(network, data, folder, out)
    (folder / FACTS).unlink()
    with pytest.raises(ExportError, match="got one with other files; name another"):
        export(network, data, folder, out)
    (folder / FACTS).write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(ExportError, match="nip-runtime \\(None there"):
        export(network, data, folder, out)
