"""The recipe for small devices as it stands: small, free of PyTorch, and with the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hardening import edge

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "small-devices.md").read_text(encoding="utf-8")


def test_the_recipe_installs_less_than_120_mb_and_answers_alike(tmp_path: Path) -> None:
    wheel = edge.built_wheel(tmp_path)
    golden = ROOT / "tests" / "goldens" / "guarded.onnx"
    found = edge.measure(tmp_path, edge.recipe(PAGE), wheel, golden, 1)
    assert 20e6 < found.bytes < 120e6
    assert found.python_ms < found.start_ms


def test_a_readme_without_the_recipe_is_noticed() -> None:
    with pytest.raises(ValueError, match="python3 -m venv edge"):
        edge.recipe(PAGE.replace("python3 -m venv edge", "python3 -m venv other"))
