from __future__ import annotations

import copy
import gc
import os
import re
import sys
from contextlib import suppress
from typing import Any

import pytest

# Before torch is loaded: with several threads, sums come out in another order from one run to the next.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine draws inputs slowly: no test fails for that. Some environments have no hypothesis.
with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    "tests/precision/",
    "tests/service/",
    "tests/serving/",
)
"""Folders, and files of one name, whose tests share one thing made once."""

LONG = (*WHOLE, "tests/docs/test_tutorial.py", "tests/export/", "tests/faults/", "tests/ui/")
"""Groups that begin first: a long one that began last would keep one process waiting for the other."""


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
    return path  # What a file's fixtures make, both processes would make otherwise.


def pytest_collection_finish() -> None:
    """Collect garbage less often, and never what imports left: an export makes half a million objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)


_registries: dict[int, Any] = {}


def pytest_runtest_setup() -> None:
    """Let torch's ONNX exporter make its table of operators once per process.

    It makes the same one at every export, for half a second: a third of what a tiny network takes.
    """
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    if module is None or _registries:
        return
    kind = getattr(module, "ONNXRegistry", None)
    make = getattr(kind, "from_torchlib", None)
    if kind is None or make is None:  # Another torch: slower, and nothing else.
        return
    _registries[0] = make

    def from_torchlib(cls: Any, opset_version: int = module._constants.TORCHLIB_OPSET) -> Any:
        if opset_version not in _registries:
            _registries[opset_version] = make(opset_version)
        made = copy.copy(_registries[opset_version])
        made.functions = {target: list(forms) for target, forms in made.functions.items()}
        return made

    kind.from_torchlib = classmethod(from_torchlib)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Where pytest-xdist is installed; the tests of the runtime also run where it is not.
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # no py.typed

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            long = next((group for group in self.workqueue if group.startswith(LONG)), None)
            if long is not None:
                self.workqueue.move_to_end(long, last=False)
            super()._assign_work_unit(node)

    return GroupScheduling(config, log)
