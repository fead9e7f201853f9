from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.container import read_container
from nip_runtime.manifest import InputSpec, read_manifest
from nip_runtime.names import MANIFEST_KEY
from nip_runtime.session import DefendedSession
from tests.runtime.toy import write_toy

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made file, policy guarded."""
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def toy(toy_path: Path) -> Iterator[DefendedSession]:
    with DefendedSession(toy_path, device="cpu", threads=1) as session:
        yield session


@pytest.fixture(scope="session", params=["toy", *sorted(path.name for path in GOLDENS.glob("*.onnx"))])
def any_path(request: pytest.FixtureRequest, toy_path: Path) -> Path:
    """Every defended file there is: the hand-made one and each golden one."""
    return toy_path if request.param == "toy" else GOLDENS / request.param


@pytest.fixture
def any_session(any_path: Path) -> Iterator[DefendedSession]:
    with DefendedSession(any_path, device="cpu", threads=1) as session:
        yield session


def spec_of(path: Path) -> InputSpec:
    return read_manifest(read_container(path).metadata[MANIFEST_KEY]).input


def pixels(session: DefendedSession, count: int, seed: int = 3) -> NDArray[np.uint8]:
    """Random uint8 images (count, H, W, C) that fit the session's model."""
    channels, height, width = session.manifest.input.shape
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, channels), np.uint8)
