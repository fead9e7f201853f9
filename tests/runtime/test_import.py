"""Importing the package must stay cheap, and running it must not need what only the export side has."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nip_runtime

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "scipy", "nip_export")
LAZY = (*HEAVY, "onnxruntime", "cv2", "numpy")
ROOT = Path(__file__).parents[2]


def _loaded(code: str, watched: tuple[str, ...]) -> set[str]:
    """Which of the watched modules a fresh interpreter holds after running ``code``."""
    script = f"{code}\nimport sys\nprint('LOADED', *sorted(set({watched!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_import_loads_nothing_heavy() -> None:
    assert _loaded("import nip_runtime", LAZY) == set()


def test_the_check_above_can_fail() -> None:
    assert _loaded("import nip_runtime, numpy", LAZY) == {"numpy"}


def test_predicting_needs_numpy_and_onnxruntime_alone(toy_path: Path) -> None:
    code = (
        "import numpy, nip_runtime\n"
        f"with nip_runtime.DefendedSession({str(toy_path)!r}, device='cpu') as session:\n"
        "    assert len(session.predict(numpy.zeros((3, 4, 4), numpy.uint8))) == 3\n"
    )
    assert _loaded(code, LAZY) == {"numpy", "onnxruntime"}


def test_predicting_works_where_the_export_side_is_absent(toy_path: Path) -> None:
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY!r}))\n"  # None: an import of it raises
        "from nip_runtime.cli.main import main\n"
        f"import numpy; numpy.save({str(toy_path.parent / 'x.npy')!r}, numpy.zeros((3, 4, 4), numpy.uint8))\n"
        f"assert main(['predict', {str(toy_path)!r}, {str(toy_path.parent / 'x.npy')!r}]) == 0\n"
        f"for name in {HEAVY!r}: del sys.modules[name]\n"
    )
    assert _loaded(code, HEAVY) == set()


def test_inspecting_needs_neither_numpy_nor_onnxruntime(toy_path: Path) -> None:
    code = f"from nip_runtime.cli.main import main; assert main(['inspect', {str(toy_path)!r}]) == 0"
    assert _loaded(code, LAZY) == set()


def test_import_takes_less_than_300_ms() -> None:
    code = (
        "import time; start = time.perf_counter(); import nip_runtime\n"
        "print((time.perf_counter() - start) * 1000)"
    )
    times_ms = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(times_ms) < 300


def test_every_public_name_is_there() -> None:
    for name in nip_runtime.__all__:
        assert getattr(nip_runtime, name) is not None
    assert set(nip_runtime.__all__) <= set(dir(nip_runtime))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        nip_runtime.Nonsense  # noqa: B018


def test_version_is_the_distributions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert nip_runtime.__version__ == project["version"]
