"""``nip export --precision`` and ``nip inspect`` on what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nip_runtime.cli.main import main
from tests.precision.made import EXAMPLE, Made, spread


def test_export_says_what_converting_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"profile": spread(EXAMPLE.profile, 100), "calibration": spread(EXAMPLE.calibration, 150)}
    for name, data in few.items():
        np.savez(tmp_path / f"{name}.npz", images=data.images, labels=data.labels)
    out = tmp_path / "m.nip.onnx"
    arguments = [
        *("export", "--model", "tests.precision.test_commands:example", "--out", str(out)),
        *("--data", str(tmp_path / "profile.npz"), "--calibration", str(tmp_path / "calibration.npz")),
        *("--mean", str(EXAMPLE.mean[0]), "--std", str(EXAMPLE.std[0]), "--benign-budget", "0.05"),
        *("--precision", "int8"),
    ]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "precision         int8; same class as fp32 for " in told
    assert "largest logit change" in told
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "precision     int8" in shown
    assert "  same label  " in shown
    assert "asked for     screen rate 0.4, perturbation ascent, 60 steps" in shown


def example() -> object:
    """The example's network, as a user's factory."""
    return EXAMPLE.model


def test_inspect_shows_the_precision_of_any_file(
    fp32: Made, fp16: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    for made, lines in ((fp32, 1), (fp16, 3)):
        assert main(["inspect", str(made.path)]) == 0
        shown = capsys.readouterr().out.splitlines()
        start = shown.index(f"precision     {made.report.manifest.precision}")
        assert shown[start + lines].startswith("asked for")
