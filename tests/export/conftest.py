from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.export.made import Made, Workshop
from tests.export.networks import NETS


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    base = tmp_path_factory.getbasetemp()
    # Under xdist every worker has its own folder in one that belongs to this run.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = Path(shared) / "exports"
    folder.mkdir(exist_ok=True)
    return Workshop(folder)


@pytest.fixture(scope="session", params=[net.name for net in NETS])
def made(request: pytest.FixtureRequest, workshop: Workshop) -> Made:
    """Every network under policy guarded; tests of one network run one after the other."""
    return workshop.export(request.param)


@pytest.fixture(scope="session")
def mlp(workshop: Workshop) -> Made:
    return workshop.export("mlp")
