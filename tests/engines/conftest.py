from __future__ import annotations

import pytest

from tests.export.made import Workshop, shared_workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return shared_workshop(tmp_path_factory.getbasetemp())
