"""Prepared examples for the page: real attacks on a small export, 8-bit, within ε, found beside the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nip_evaluate.report.ui_examples import (
    ADAPTIVE_EPS,
    FGSM_EPS,
    PGD_EPS,
    check_ui_examples,
    write_ui_examples,
)
from nip_export.config import ExportConfig
from nip_export.data import ImageSet
from nip_export.pipeline import export_defended
from nip_export.write.report import ExportReport
from nip_runtime.errors import InputError
from nip_runtime.operate.ui.examples import Examples, examples_beside, read_examples
from nip_runtime.session import DefendedSession
from tests.export.made import Workshop
from tests.export.networks import example

IMAGES, STEPS = 10, 8


@pytest.fixture(scope="module")
def report(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    data = example()
    return export_defended(
        workshop.trained("tiny"),
        data.profile.images[:500],
        data.profile.labels[:500],
        tmp_path_factory.mktemp("ui") / "small.nip.onnx",
        calibration=(data.calibration.images[:400], data.calibration.labels[:400]),
        config=ExportConfig(mean=data.mean, std=data.std, ascent_steps=5),
    )


@pytest.fixture(scope="module")
def written(report: ExportReport) -> Examples:
    path = write_ui_examples(report, example().test, example().profile, images=IMAGES, steps=STEPS)
    assert path == examples_beside(report.path)
    return read_examples(path, report.manifest)


def test_examples_are_rightly_labelled_and_of_all_classes(report: ExportReport, written: Examples) -> None:
    with DefendedSession(report.path, device="cpu") as session:
        labels = session.predict(written.images).raw_labels
    assert labels.tolist() == list(written.labels)
    assert written.images.shape == (IMAGES, 28, 28, 1)
    assert len(set(written.labels)) >= 8


def test_attacks_stay_within_their_size_and_fool_the_network(report: ExportReport, written: Examples) -> None:
    sizes = list(zip(written.attacks, written.eps, strict=True))
    assert sizes[: len(FGSM_EPS)] == [("FGSM", eps) for eps in FGSM_EPS]
    assert sizes[len(FGSM_EPS) :][: len(PGD_EPS)] == [("PGD", eps) for eps in PGD_EPS]
    assert len(sizes) == len(FGSM_EPS) + len(PGD_EPS) + 2 * len(ADAPTIVE_EPS)
    truth = np.array(written.labels)
    right = {}
    with DefendedSession(report.path, device="cpu") as session:
        for size, attacked in zip(sizes, written.attacked, strict=True):
            change = np.abs(attacked.astype(int) - written.images.astype(int))
            assert 0 < change.max() <= size[1]
            right[size] = int((session.predict(attacked).raw_labels == truth).sum())
    assert right["PGD", 25] <= right["PGD", 8] <= right["PGD", 2]
    assert right["PGD", 25] <= IMAGES // 4


def test_whoever_knows_the_defence_gets_further(report: ExportReport, written: Examples) -> None:
    truth = np.array(written.labels)
    with DefendedSession(report.path, device="cpu") as session:
        held = {
            (name, eps): int((session.predict(attacked).labels == truth).sum())
            for name, eps, attacked in zip(written.attacks, written.eps, written.attacked, strict=True)
        }
    assert min(held["misleads the defence", 8], held["passes under the gate", 8]) < held["PGD", 8]


def test_one_pattern_hurts_many_images(report: ExportReport, written: Examples) -> None:
    assert written.universal is not None
    pattern = written.universal.astype(np.float32) / 127
    moved = np.clip(written.images / np.float32(255) + 48 / 255 * pattern, 0, 1).transpose(0, 3, 1, 2)
    noise = np.sign(np.random.default_rng(0).normal(size=pattern.shape)).astype(np.float32)
    noisy = np.clip(written.images / np.float32(255) + 48 / 255 * noise, 0, 1).transpose(0, 3, 1, 2)
    with DefendedSession(report.path, device="cpu") as session:
        right, right_with_noise = (
            int((session.predict(np.ascontiguousarray(each)).raw_labels == np.array(written.labels)).sum())
            for each in (moved, noisy)
        )
    assert right < right_with_noise


def test_what_is_no_picture_is_refused_before_the_export(report: ExportReport, tmp_path: Path) -> None:
    test = example().test
    floats = ImageSet(test.images.astype(np.float32)[:, None] / np.float32(255), test.labels)
    with pytest.raises(InputError, match="as uint8 for --ui-examples"):
        check_ui_examples(tmp_path / "model.onnx", floats, test)
    with pytest.raises(InputError, match="create it or choose another"):
        check_ui_examples(tmp_path / "absent" / "model.onnx", test, test)
    small = ImageSet(test.images[:, 2:-2, 2:-2], test.labels)
    with pytest.raises(InputError, match=r"of shape \(1, 28, 28\)"):
        check_ui_examples(tmp_path / "model.onnx", small, test)
    wide = ImageSet(np.zeros((2, 1, 28, 28), np.float32), np.zeros(2, np.int64), None, (-1.0, 1.0))
    with pytest.raises(InputError, match=r"pixels in \[0, 1\]"):
        check_ui_examples(tmp_path / "model.onnx", test, wide)
    rgb = ImageSet(np.repeat(test.images[..., None], 3, axis=3), test.labels)
    with pytest.raises(InputError, match="channels"):
        check_ui_examples(tmp_path / "model.onnx", rgb, test)
    wrong = ImageSet(test.images[:40], (test.labels[:40] + 1) % 10)
    with DefendedSession(report.path, device="cpu") as session:
        right = session.predict(wrong.images).raw_labels == wrong.labels
    with pytest.raises(InputError, match="labels rightly"):
        write_ui_examples(report, wrong.take(np.flatnonzero(~right)), example().profile)
