"""A file that would defend nothing is not written unseen, and every file says what it can and cannot do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nip_export.calibrate import calibrate
from nip_export.defence.statistics import log_softmax
from nip_export.fit.prepared import Prepared
from nip_export.pipeline import prepare_defence, write_defended
from nip_export.self_test import IMAGES, descend
from nip_export.write.report import UNTESTED
from nip_export.write.worth import MOST_LOSS, check_worth, verdict_of
from nip_runtime.errors import ExportError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import Policy
from nip_runtime.file.rates import Rate
from tests.export.drawn import BUDGET, blobs, quick, trained


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    own = blobs(1200, seed=3)
    model = trained(blobs(2000, seed=1), 10, steps=150)
    return prepare_defence(
        model,
        own.images[:600],
        own.labels[:600],
        calibration=(own.images[600:], own.labels[600:]),
        config=quick(),
    )


def deaf(prepared: Prepared) -> Prepared:
    """The same with a second look that scatters so much that no response stands out."""
    return replace(prepared, second=prepared.second[::-1].copy())


def test_summary_manifest_and_inspect_say_what_the_file_can_do(prepared: Prepared, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    report = write_defended(prepared, path)
    verdict, coverage = report.manifest.verdict, report.manifest.coverage
    assert verdict is not None and coverage is not None
    assert coverage.with_images == 10 and coverage.without_images == 0
    assert read_artifact(path).manifest.verdict == verdict
    summary = " ".join(report.summary().split())  # long texts take several lines
    assert "10 of 10 had images" in summary
    for text in (*verdict.detects, *verdict.misses, *verdict.advice):
        assert text in summary
    done = subprocess.run(
        [sys.executable, "-m", "nip_runtime.cli.main", "inspect", str(path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    for text in (*verdict.misses, *verdict.advice):
        assert text in done.stdout


@pytest.mark.parametrize(("mistakes", "said"), [(None, True), (Rate(9, 19), True), (Rate(10, 20), False)])
def test_the_summary_says_that_mistakes_were_too_few_to_choose_a_view_by(
    prepared: Prepared, tmp_path: Path, mistakes: Rate | None, said: bool
) -> None:
    tried = tuple(replace(trial, repaired=mistakes) for trial in prepared.trials)
    assert tried
    summary = write_defended(replace(prepared, trials=tried), tmp_path / "model.onnx").summary()
    assert ("too few mistakes to choose by: chosen by what right answers show" in summary) is said


def test_a_gate_that_hardly_ever_fires_is_refused_unless_detecting_or_forced(
    prepared: Prepared, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"what stood here before")
    lost = deaf(prepared)
    with pytest.raises(ExportError, match=r"would defend nothing: its gate hardly ever fires.*policy detect"):
        write_defended(lost, path)
    assert path.read_bytes() == b"what stood here before"
    forced = replace(lost, bench=replace(lost.bench, config=replace(lost.bench.config, force=True)))
    report = write_defended(forced, path)
    assert report.manifest.verdict is not None and report.manifest.verdict.detects == ()
    assert "it cannot         detect nearly everything" in report.summary()
    detecting = replace(
        lost, bench=replace(lost.bench, config=replace(lost.bench.config, policy=Policy.DETECT))
    )
    assert write_defended(detecting, path).manifest.policy is Policy.DETECT


def test_always_is_refused_above_the_loss_it_states(prepared: Prepared) -> None:
    bench = prepared.bench
    known, config = prepared.known, bench.config
    found = calibrate(
        bench.calibration_pass,
        prepared.second,
        bench.calibration.labels,
        known,
        benign_budget=BUDGET,
        screen_rate=0.4,
        policy=Policy.GUARDED,
        seed=0,
    )
    verdict = verdict_of(prepared, bench, found)
    count = found.accuracy_raw.n
    before = Rate(count * 9 // 10, count)
    always = replace(config, policy=Policy.ALWAYS)

    def losing(points: float) -> None:
        after = Rate(before.count - round(count * points), count)
        check_worth(always, replace(found, accuracy_raw=before, accuracy_defended=after), verdict)

    losing(MOST_LOSS - 0.01)
    with pytest.raises(ExportError, match=r"expected it to cost at most 10 points .* before and .* after"):
        losing(MOST_LOSS + 0.01)
    always = replace(always, force=True)
    losing(0.5)
    always = replace(always, force=False, policy=Policy.GUARDED)
    losing(0.5)


def test_a_self_test_attacks_held_back_images_and_changes_nothing(prepared: Prepared, tmp_path: Path) -> None:
    plain = write_defended(prepared, tmp_path / "plain.onnx")
    tested = replace(
        prepared, bench=replace(prepared.bench, config=replace(prepared.bench.config, self_test=True))
    )
    report = write_defended(tested, tmp_path / "tested.onnx")
    assert report.manifest.digests.graph == plain.manifest.digests.graph
    assert plain.attempts == () and UNTESTED in plain.summary()
    assert [round(255 * attempt.eps) for attempt in report.attempts] == [2, 4, 8]
    strongest = report.attempts[-1]
    assert strongest.fooled.n == IMAGES and strongest.fooled.value > 0.4
    assert strongest.detected is not None and strongest.repaired is not None
    assert strongest.detected.n == strongest.repaired.n == strongest.fooled.count
    assert f"detected {strongest.detected}, repaired {strongest.repaired}" in report.summary()
    assert UNTESTED not in report.summary()


def test_attacked_images_stay_within_epsilon_and_bounds(prepared: Prepared) -> None:
    bench = prepared.bench
    inputs, labels = bench.calibration.inputs[:20], bench.calibration.labels[:20]
    done: list[int] = []
    attacked = descend(bench, inputs, labels, 0.1, advance=done.append)
    assert attacked.min() >= 0 and attacked.max() <= 1 and sum(done) == 20
    assert 0.09 < np.abs(attacked - inputs).max() <= 0.1 + 1e-6
    before, after = (
        np.take_along_axis(log_softmax(bench.run(images).logits), labels[:, None], axis=1).mean()
        for images in (inputs, attacked)
    )
    assert after < before - 1
