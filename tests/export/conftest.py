from __future__ import annotations

import pytest

from tests.export.made import Made, Workshop, shared_workshop
from tests.export.networks import NETS


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return shared_workshop(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session", params=[net.name for net in NETS])
def made(request: pytest.FixtureRequest, workshop: Workshop) -> Made:
    """Every network under policy guarded; tests of one network run one after the other."""
    return workshop.export(request.param)


@pytest.fixture(scope="session")
def mlp(workshop: Workshop) -> Made:
    return workshop.export("mlp")
