from __future__ import annotations

import pytest

from benchmarks.speed.files import SpeedFiles, make_files
from benchmarks.speed.networks import NETWORKS, Name


@pytest.fixture(scope="session")
def vit_files(tmp_path_factory: pytest.TempPathFactory) -> SpeedFiles:
    """Files of the smallest network that takes the seeded way."""
    return make_files(NETWORKS[Name.FASHION_VIT], tmp_path_factory.mktemp("speed"))
