"""A folder of recordings in, a defended file out, and what it says of a recording."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nip_evaluate.attacks import run_attack, sound_catalogue
from nip_evaluate.attacks.sound import CORE
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.scoring.scores import signal_to_change_db
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.terms.threats import Norm, Threat
from nip_export.data import read_recordings
from nip_runtime.cli.main import main
from nip_runtime.file.manifest import InputSpec, SoundCut, ViewStep
from nip_runtime.inputs.images import suffixes_of
from nip_runtime.operate.bulk.plan import Piece
from nip_runtime.operate.bulk.rows import read_piece
from nip_runtime.operate.bulk.sources import find_sources
from nip_runtime.session import DefendedSession
from tests.sound.tiny import NAMES, RATE, SAMPLES, hums, network, write

soundfile: Any = pytest.importorskip("soundfile")
Capture = pytest.CaptureFixture[str]
SUMMARY = "summary.txt"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hums")
    write(folder / "data", 60, 0, soundfile)
    given = ["--model", "tests.sound.tiny:network", "--data", str(folder / "data"), "--eps", "0.01"]
    heard = ["--rate", str(RATE), "--samples", str(SAMPLES), "--cut", "start"]
    out = folder / "hums.nip.onnx"
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["export", *given, *heard, "--out", str(out), "--benign-budget", "0.1"]) == 0
    (folder / SUMMARY).write_text(printed.getvalue(), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def session(exported: Path) -> DefendedSession:
    return DefendedSession(exported, device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "in", 4, 5, soundfile)
    return tmp_path / "in"


def test_the_manifest_pins_how_recordings_are_heard(session: DefendedSession) -> None:
    spec = session.manifest.input
    assert (spec.shape, spec.bounds) == ((1, SAMPLES), (-1.0, 1.0))
    assert spec.sound is not None
    assert (spec.sound.rate, spec.sound.cut, spec.sound.shortest) == (RATE, SoundCut.START, SAMPLES // 10)
    assert session.manifest.output.class_names == NAMES
    assert session.manifest.calibration.accuracy_raw.value > 0.9


@pytest.mark.parametrize("asked", [[], ["--card"]], ids=["summary and inspect", "card"])
def test_a_file_for_recordings_speaks_of_recordings(
    exported: Path, asked: list[str], capsys: Capture
) -> None:
    assert main(["inspect", str(exported), *asked]) == 0
    told = [capsys.readouterr().out]
    told += [] if asked else [(exported.parent / SUMMARY).read_text(encoding="utf-8")]
    for text in told:
        assert "recordings" in text
        assert [line for line in text.splitlines() if re.search(r"\bimages?\b", line)] == []


def test_views_for_recordings_were_tried(session: DefendedSession) -> None:
    gate = session.manifest.gate
    assert gate is not None
    tried = {step for trial in gate.views_tried for step in trial.view}
    assert {ViewStep.POLARITY, ViewStep.DELAY, ViewStep.SHIFT, ViewStep.GAIN, ViewStep.MIRROR} <= tried


def test_predict_answers_a_recording_as_it_answers_the_array(
    session: DefendedSession, exported: Path, folder: Path, capsys: Capture
) -> None:
    expected = session.predict(read_recordings(folder, session.manifest.input).images)
    assert main(["predict", str(exported), str(folder), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == expected.labels.tolist()
    np.testing.assert_allclose([row["suspicion"] for row in rows], expected.suspicion, atol=1e-4)
    right = [row["label_name"] == Path(row["file"]).parent.name for row in rows]
    assert len(right) == 12 and sum(right) >= 9


def test_a_recording_that_cannot_be_read_is_told_in_its_place(
    exported: Path, folder: Path, capsys: Capture
) -> None:
    (folder / "low" / "000.wav").write_bytes(b"no sound")
    assert main(["predict", str(exported), str(folder / "low"), "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 4 and "libsndfile" in rows[0]["error"] and "label" in rows[1]


def test_bulk_reads_recordings_too(session: DefendedSession, folder: Path, tmp_path: Path) -> None:
    spec = session.manifest.input
    sources = find_sources([str(folder)], suffixes=suffixes_of(spec), column="", out=tmp_path / "out")
    assert [source.rows for source in sources] == [1] * 12
    (row,) = read_piece(Piece(sources[0], 0, 1), spec, column="", block=4)
    assert row.error == "" and row.image is not None
    np.testing.assert_array_equal(row.image, read_recordings(folder, spec).images[:1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--rate", "8000"], "--rate and --samples together"),
        (["--rate", "8000", "--samples", "100", "--size", "8x8"], "no --size"),
        (["--rate", "0", "--samples", "100"], "rate: expected at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    given: list[str], message: str, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    named = ["--model", "tests.sound.tiny:network", "--data", str(folder), "--out", str(tmp_path / "m.onnx")]
    assert main(["export", *named, *given]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()


def test_attacks_on_the_waveform_keep_epsilon_in_full_scale(session: DefendedSession) -> None:
    clean = np.concatenate([hums(name, 5, 3) for name in NAMES])[:, None]
    labels = np.repeat(np.arange(3), 5).astype(np.int64)
    planned = planned_cases(EvaluationPlan(), session.manifest.input)
    cases = {case.name: case for case in planned[Threat.GRAY_BOX]}
    assert set(CORE) <= set(cases) and {name for name, case in cases.items() if case.core} == set(CORE)
    for name, epsilon in (("FGSM 0.005", 0.005), ("PGD 0.0005", 0.0005)):
        case = cases[name]
        assert case.epsilon == pytest.approx(epsilon) and case.norm is Norm.LINF
        made = run_attack(case, network(), clean, labels, seed=0, bounds=(-1.0, 1.0)).images
        assert np.abs(made - clean).max() == pytest.approx(epsilon, rel=1e-3)
        wanted = 10 * np.log10(np.square(clean).sum((1, 2)) / np.square(made - clean).sum((1, 2)))
        np.testing.assert_allclose(signal_to_change_db(made, clean), wanted, atol=0.01)
    assert signal_to_change_db(clean, clean).size == 0


def test_an_attack_leaves_recordings_alone_that_it_does_not_change() -> None:
    """Going to [0, 1] and back must not round them."""
    clean = hums("low", 6, 3)[:, None]
    wrong = np.full(6, 2, np.int64)
    (case,) = (case for case in sound_catalogue() if case.name == "C&W κ=0")
    made = run_attack(case, network(), clean, wrong, seed=0, bounds=(-1.0, 1.0)).images
    np.testing.assert_array_equal(made, clean)


def test_recordings_and_images_are_attacked_with_sizes_of_their_own(session: DefendedSession) -> None:
    spec: InputSpec = session.manifest.input
    plan = EvaluationPlan()
    heard, seen = planned_cases(plan, spec), planned_cases(plan)
    assert {case.epsilon for case in heard[Threat.ADAPTIVE]} == {0.0005, 0.002}
    assert {case.epsilon for case in seen[Threat.ADAPTIVE]} == {8 / 255, 25 / 255}
    assert [case.name for case in heard[Threat.QUERY]] == ["HopSkipJump L2 0.3"]
    assert heard[Threat.QUERY][0].epsilon == pytest.approx(0.3)
