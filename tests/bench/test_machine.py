from __future__ import annotations

import os
import platform
import re
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort
import pytest

from nip_runtime.operate.bench import machine
from nip_runtime.run.providers import usable_cores


def test_a_machine_is_described_with_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = machine.describe()
    assert found.cores == usable_cores().count
    assert found.python == platform.python_version()
    assert found.onnxruntime == ort.__version__
    assert found.omp_threads == "7"
    assert found.gpu is None
    if hasattr(os, "getloadavg"):
        assert found.load is not None and found.load >= 0
    info = Path("/proc/cpuinfo")
    if info.exists() and (names := re.findall(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE)):
        assert found.cpu == names[0]
    assert found.cpu


def test_a_gpu_that_the_driver_does_not_name_is_unknown() -> None:
    # Device 99 is on no machine; without a driver none is.
    assert machine.describe("cuda:99").gpu == "unknown"


def test_no_cores_are_refused() -> None:
    with pytest.raises(ValueError, match="cores: expected at least 1, got 0"):
        replace(machine.describe(), cores=0)
