from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.session import DefendedSession

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="session", params=["guarded", "always", "detect"])
def any_session(request: pytest.FixtureRequest) -> Iterator[DefendedSession]:
    with DefendedSession(GOLDENS / f"{request.param}.onnx", device="cpu", threads=1) as session:
        yield session


@pytest.fixture(scope="session")
def session() -> Iterator[DefendedSession]:
    with DefendedSession(GOLDENS / "guarded.onnx", device="cpu", threads=1) as session:
        yield session


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """(48, 28, 28) uint8, half of them attacked."""
    with np.load(GOLDENS / "guarded.npz") as stored:
        loaded: NDArray[np.uint8] = stored["images"]
    return loaded


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("nip-")] == []
