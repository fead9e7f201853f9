from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Any

import pytest

# Before torch is loaded: with several threads, sums come out in another order from one run to the next.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine draws inputs slowly: no test fails for that. Some environments have no hypothesis.
with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    settings.register_profile("unhurried", suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")

NETWORKS = ("vgg", "resnet", "preact", "mobilenet", "vit", "vit_builtin", "audio", "mlp")
"""Networks that several tests of one folder look at, as they stand in the tests' names."""
WHOLE = (
    "tests/benchmarks/test_gpu_dry_run.py",
    "tests/benchmarks/test_speed_",
    "tests/demo/test_run.py",
    "tests/environments/",
    "tests/evaluate/adaptive/",
    "tests/evaluate/baselines/",
    "tests/evaluate/query/",
    "tests/evaluate/run/",
    "tests/goldens/",
    "tests/service/",
    "tests/serving/",
)
"""Tests that share one thing made once."""


def group_of(nodeid: str) -> str:
    """Tests with the same answer run in one process, so that what they share is made once."""
    for start in WHOLE:
        if nodeid.startswith(start):
            return start
    path, _, name = nodeid.partition("::")
    _, _, parameters = name.partition("[")
    for word in re.findall(r"\w+", parameters):
        if word in NETWORKS:
            return f"{path.rpartition('/')[0]} {word}"
    return nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Where pytest-xdist is installed; the tests of the runtime also run where it is not.
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # no py.typed

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return GroupScheduling(config, log)
