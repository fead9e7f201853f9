"""The lowest versions that pyproject.toml allows really do: the runtime's own tests, and an export."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.environments.installed import ROOT, Environment

pytestmark = pytest.mark.slow

_FLOOR = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?>=([0-9.]+)")
WITHOUT = {"torch", "onnxruntime-gpu"}
"""A second PyTorch is gigabytes: the one that is here serves. The GPU's package needs one."""
EXPORT = """
import sys
import numpy as np
import torch
from torch import nn
from nip_export import ExportConfig, export_defended
from nip_runtime import DefendedSession

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
)
labels = np.arange(600) % 3
noise = np.random.default_rng(0).random((600, 1, 8, 8), dtype=np.float32)
images = (0.3 * noise + labels[:, None, None, None].astype(np.float32) / 3).clip(0, 1)
optimiser = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(80):
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
    optimiser.step()
config = ExportConfig(ascent_steps=2, force=True)
report = export_defended(model.eval(), images, labels, "lowest.nip.onnx", config=config)
with DefendedSession("lowest.nip.onnx", device="cpu") as session:
    right = (session.predict(images).labels == labels).mean()
assert right > 0.9, right
assert report.manifest.verification.argmax_agreement == 1
print("exported")
"""


def declared() -> tuple[list[str], dict[str, list[str]]]:
    """What pyproject.toml says that the package needs, and what each extra adds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["dependencies"], project["optional-dependencies"]


def floors(*extras: str) -> list[str]:
    """The lowest versions that the package and some of its extras allow, as requirements for pip."""
    core, optional = declared()
    wanted = [*core, *(each for extra in extras for each in optional[extra])]
    found = {match[1]: match[2] for each in wanted if (match := _FLOOR.match(each)) is not None}
    return [f"{name}=={version}" for name, version in found.items() if name not in WITHOUT]


def test_every_dependency_has_a_floor() -> None:
    core, optional = declared()
    every = [*core, *(each for extra in optional.values() for each in extra)]
    assert [each for each in every if _FLOOR.match(each) is None and not each.startswith("scipy<")] == []
    assert "numpy==1.26" in floors() and "onnxruntime==1.20" in floors("cpu")


@pytest.fixture(scope="module")
def lowest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("lowest"), wheel, pins=())


def test_the_runtimes_own_tests_pass_with_the_lowest_versions(lowest: Environment) -> None:
    lowest.install(*floors("cpu", "vision", "audio"), "pytest", "hypothesis", "jsonschema")
    summary = lowest.pytest("tests/runtime", "-q", "-p", "no:cacheprovider").splitlines()[-1]
    assert " passed" in summary and "failed" not in summary


def test_an_export_works_with_the_lowest_versions(lowest: Environment) -> None:
    """Last: it brings onnx and PyTorch into the environment."""
    torch = pytest.importorskip("torch")
    lowest.install(*floors("cpu", "export"))
    # PyTorch and what it needs are read from where they are here, behind all that was installed.
    here = Path(torch.__file__).parents[1]
    code = f"import sys; sys.path.append({str(here)!r})\n" + EXPORT
    assert lowest.python(code, warnings="ignore").splitlines()[-1] == "exported"
    told = lowest.python("import onnx, onnx_ir; print(onnx.__version__, onnx_ir.__version__)").split()
    assert f"onnx=={told[0].removesuffix('.0')}" in floors("export")
    assert f"onnx-ir=={told[1]}" in floors("export")
