from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hardening.serving import environment
from benchmarks.hardening.serving.environment import Environment

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A real tritonserver and NVIDIA's clients, installed by pip for this session."""
    obstacle = environment.obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    return environment.make(tmp_path_factory.mktemp("triton") / "venv")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "golden.nip.onnx"
    path.write_bytes((GOLDENS / "guarded.onnx").read_bytes())
    return path
