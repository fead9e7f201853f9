"""A file that hears, attacked by every threat model: what the report says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nip_evaluate.given.material import Material
from nip_evaluate.given.paths import EvaluationPaths
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.report.numbers import load
from nip_evaluate.run import run_evaluation
from nip_evaluate.terms.results import Latency
from nip_evaluate.terms.threats import Threat
from nip_export import ExportConfig, export_defended
from nip_export.data import ImageSet, read_recordings, sound_input
from tests.sound.tiny import NAMES, RATE, SAMPLES, network, write

soundfile: Any = pytest.importorskip("soundfile")
SPEC = sound_input(RATE, SAMPLES)
PLAN = EvaluationPlan(
    threats=(Threat.GRAY_BOX, Threat.QUERY, Threat.ADAPTIVE),
    attacks=("FGSM 0.005", "PGD 0.005"),
    images=12,
    adaptive_eps=(0.005,),
    caps={"T3": 2, "T4": 2},
    quick=True,
)


def recordings(folder: Path, count: int, seed: int) -> ImageSet:
    write(folder, count, seed, soundfile)
    return read_recordings(folder, SPEC)


def test_recordings_are_attacked_compared_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_time(*args: object, batch: int) -> Latency:
        return Latency(batch=batch, plain_ms=1, defended_ms=1, ratio=1, rounds=1)

    monkeypatch.setattr("nip_evaluate.stages.views.measure_latency", no_time)
    profile, calibration = (recordings(tmp_path / name, 50, seed) for seed, name in enumerate("ab"))
    config = ExportConfig(
        bounds=SPEC.bounds,
        sound=SPEC.sound,
        eps=0.01,
        benign_budget=0.1,
        ascent_steps=5,
        class_names=NAMES,
    )
    path = tmp_path / "hums.nip.onnx"
    given = (calibration.images, calibration.labels)
    export_defended(network(), profile.images, profile.labels, path, calibration=given, config=config)
    material = Material(
        model=network(), test=recordings(tmp_path / "c", 8, 7), profile=profile, calibration=calibration
    )
    found = run_evaluation(path, material, tmp_path / "out", plan=PLAN)

    paths = EvaluationPaths(tmp_path / "out")
    assert load(paths.numbers.read_text("utf-8")) == found
    gray = {attack.name: attack for attack in found.attacks if attack.threat is Threat.GRAY_BOX}
    assert list(gray) == ["FGSM 0.005", "PGD 0.005"]
    for attack in gray.values():
        assert attack.mean_linf == pytest.approx(0.005, rel=1e-3)
        assert attack.snr_db is not None and 15 < attack.snr_db < 45
    threats = [attack.threat for attack in found.attacks]
    assert threats.count(Threat.QUERY) == 1 and threats.count(Threat.ADAPTIVE) == 6
    compared = {baseline.name for baseline in found.baselines}
    assert {"median 3", "8-bit rounding", "same view with a random pattern"} <= compared
    (twin,) = (check for check in found.checks if "twin" in check.claim)
    assert twin.holds, twin.detail
    page = paths.page.read_text("utf-8")
    assert "dB below the signal" in page and "PGD 0.005" in page
