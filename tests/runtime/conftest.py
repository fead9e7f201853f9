from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
