"""Where torch works: named devices, one sentence where there is none, and the model back where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from nip_export import ExportConfig, export_defended
from nip_export.support.device import device_of, placed, torch_device
from nip_runtime.cli.main import main
from nip_runtime.errors import ExportError
from tests.export.drawn import blobs, trained

WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("name", ["gpu", "mps", "meta", "", "cuda:x"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(ExportError, match="device: expected cpu, cuda or cuda:1, got"):
        torch_device(name)


@WITHOUT_CUDA
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_no_cuda_is_one_sentence(name: str, tmp_path: Path, capsys: Capture) -> None:
    message = f"device: expected a CUDA device of torch's, got '{name}': torch {torch.__version__}"
    with pytest.raises(ExportError) as raised, placed(nn.Linear(2, 2), name):
        pass
    assert message in str(raised.value) and "sees 0" in str(raised.value)
    given = ["--model", "tests.goldens.generate:GoldenNet", "--data", "nowhere", "--device", name]
    assert main(["export", *given, "--out", str(tmp_path / "m.onnx")]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_sums_are_rounded_as_before_afterwards() -> None:
    model = nn.Linear(2, 2)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(KeyError), placed(model, "cpu"):
        raise KeyError
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
    assert device_of(model) == torch.device("cpu")


def test_named_or_not_the_cpu_makes_the_same_file(tmp_path: Path) -> None:
    data, model = blobs(400, seed=3), trained(blobs(2000, seed=1), 10, steps=150)
    made = [
        export_defended(
            model,
            data.images,
            data.labels,
            tmp_path / "m.onnx",
            config=ExportConfig(view="mirror", benign_budget=0.1, force=True),
            device=device,
        )
        for device in (None, "cpu")
    ]
    assert made[0].manifest.digests == made[1].manifest.digests
