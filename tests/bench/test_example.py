"""The embedded example, exported now: beside its own part, and beside what torch exports of its backbone."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.operate.bench.memory import Opener
from nip_runtime.operate.bench.report import Contender
from tests.bench.test_cli import Capture, measure

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nip_export import ExportConfig, export_defended
    from nip_export.demo.example import load_example

    example = load_example()
    profile, calibration = example.profile.take(np.arange(300)), example.calibration.take(np.arange(200))
    path = tmp_path_factory.mktemp("bench") / "example.nip.onnx"
    export_defended(
        example.model,
        profile.images,
        profile.labels,
        path,
        calibration=(calibration.images, calibration.labels),
        config=ExportConfig(mean=example.mean, std=example.std, ascent_steps=4, benign_budget=0.05, seed=1),
    )
    return path


def torchs_own(folder: Path) -> Path:
    """The example's network behind its normalisation, by `torch.onnx.export` and nothing of ours."""
    from nip_export.demo.example import load_example

    example = load_example()

    class Normalised(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is Any here
        def __init__(self) -> None:
            super().__init__()
            self.model = example.model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            return self.model((pixels - example.mean[0]) / example.std[0])

    target = folder / "torchs.onnx"
    pixels = torch.rand(2, 1, 28, 28)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        torch.onnx.export(
            Normalised().eval(),
            (pixels,),
            target,
            input_names=["pixels"],
            dynamic_shapes=[{0: torch.export.Dim("N")}],
            dynamo=True,
            verbose=False,
        )
    return target


def test_an_exported_example_is_timed_and_weighed(exported: Path, capsys: Capture) -> None:
    found = measure(capsys, exported, "--engine", "both", "--flagged", "0,0.5", "--openings", "1")
    assert [(one.contender, one.second_pass_rows) for one in found.timed if one.batch == 4] == [
        (Contender.PLAIN, 0),
        *((engine, rows) for engine in (Contender.FUSED, Contender.GATED) for rows in (0, 2)),
    ]
    assert found.agreement.relative == 0
    plain, *defended = found.opened
    assert [one.opener for one in defended] == [Opener.FUSED, Opener.GATED]
    assert plain.file_bytes < found.file_bytes == defended[0].file_bytes


def test_the_backbone_that_torch_exports_is_taken_for_the_plain_model(
    exported: Path, tmp_path: Path, capsys: Capture
) -> None:
    own = torchs_own(tmp_path)
    found = measure(capsys, exported, "--against", own, "--openings", "0")
    assert found.plain == str(own)
    assert found.agreement.relative < 1e-5
