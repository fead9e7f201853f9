from __future__ import annotations

import pytest

from tests.precision.made import Made, make


@pytest.fixture(scope="session")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make("fp32", tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="session")
def fp16(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make("fp16", tmp_path_factory.mktemp("fp16"))


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make("int8", tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="session", params=["fp16", "int8"])
def converted(request: pytest.FixtureRequest) -> Made:
    made: Made = request.getfixturevalue(request.param)
    return made
