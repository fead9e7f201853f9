from __future__ import annotations

from pathlib import Path

import pytest

from nip_runtime.operate.bench.subject import Opener

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture
def opener() -> Opener:
    return Opener.on("cpu", threads=1)


@pytest.fixture
def guarded() -> Path:
    return GOLDENS / "guarded.onnx"


@pytest.fixture
def always() -> Path:
    return GOLDENS / "always.onnx"


@pytest.fixture
def plain_path(tmp_path: Path) -> Path:
    return tmp_path / "plain.onnx"
