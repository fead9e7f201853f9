"""pytest-benchmark cases: `python -m pytest benchmarks/speed/cases`, `-k "vgg and calm"` for some of them.

The figures in the documents come from `benchmarks.speed.run`, whose cases are paired round by round. These
are for whoever changes one thing and wants to know what it did: each times one answer and checks it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.speed.files import SpeedFiles, make_files
from benchmarks.speed.networks import NETWORKS, Name


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Name], SpeedFiles]:
    """Makes a network's files, once."""
    folder: Path = tmp_path_factory.mktemp("speed")

    @functools.cache
    def make(name: Name) -> SpeedFiles:
        return make_files(NETWORKS[name], folder)

    return make


@pytest.fixture(params=list(Name), ids=str)
def files(request: pytest.FixtureRequest, made: Callable[[Name], SpeedFiles]) -> SpeedFiles:
    """One network's files."""
    return made(request.param)
