"""The runtime's own tests under newer versions of Python, where such an interpreter is on the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hardening.pinned import interpreter
from tests.environments.installed import Environment

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_runtimes_own_tests_pass(version: str, wheel: Path, tmp_path: Path) -> None:
    try:
        python = interpreter(version)
    except RuntimeError as missing:
        pytest.skip(str(missing))
    environment = Environment(tmp_path, wheel, interpreter=python)
    environment.add_test_tools()
    assert environment.python("import sys; print(*sys.version_info[:2], sep='.')").strip() == version
    summary = environment.pytest("tests/runtime", "-q", "-p", "no:cacheprovider").splitlines()[-1]
    assert " passed" in summary and "failed" not in summary
    print(summary)
