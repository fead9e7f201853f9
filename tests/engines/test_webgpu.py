"""A file on WebGPU in headless Chromium, in software: why it needs a padding row, and that it then runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.engines.case import make_case
from benchmarks.engines.engines import ENGINES, Asked, install
from benchmarks.engines.material import goldens, with_shaken
from benchmarks.engines.results import judged
from nip_export import export_defended
from nip_runtime.file.manifest import Policy
from tests.export.networks import TINY

pytestmark = pytest.mark.slow


def test_a_padding_row_mends_what_webgpu_lacks(tmp_path: Path) -> None:
    if shutil.which("npm") is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("npm or Chromium is not installed")
    (engine,) = (engine for engine in ENGINES if engine.provider == "webgpu")
    path = tmp_path / "padded.onnx"
    (images, labels), calibration = TINY.benign()
    config = TINY.config(padding_row="always")
    export_defended(TINY.train(), images, labels, path, calibration=calibration, config=config)
    padded = make_case("padded", path, with_shaken(TINY.inputs_of("test", 8)))
    (golden,) = (case for case in goldens() if case.name == f"golden {Policy.GUARDED}")
    asked = Asked(engine, install(engine, tmp_path / "engines"))
    found = {case.name: judged(case, answered) for case, answered in asked.answers([padded, golden])}
    assert found["padded"].problem == ""
    assert "Invalid dispatch group size" in found[golden.name].verdicts[1].problem
