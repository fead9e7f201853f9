"""Networks of which the exporter sees images of two classes alone, or next to none of some: of the others
nothing, or next to nothing, is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from nip_export import ExportReport, export_defended
from nip_export.calibrate.verdict import one_of_classes
from nip_runtime.file.rates import Rate
from nip_runtime.result import Prediction
from nip_runtime.session import DefendedSession
from tests.export.drawn import BUDGET, Drawn, blobs, digits, quick, trained

CASES = [
    *(("blobs", classes, 0.4) for classes in ((0, 1), (8, 9))),
    *(("digits", classes, 0.4) for classes in ((3, 7), (2, 8))),
    # Every row takes the second pass: whether the screen would pick those of other classes is chance.
    ("blobs", (1, 3, 5, 9), 1.0),
    ("digits", (8, 9), 1.0),
]


@dataclass(frozen=True, eq=False)
class FewClasses:
    """An export from images of some classes, and what the file says of images of all."""

    classes: tuple[int, ...]
    report: ExportReport
    test: Drawn
    answers: Prediction

    @cached_property
    def strange(self) -> NDArray[np.bool_]:
        """Images of the classes that the export never saw."""
        return ~np.isin(self.test.labels, self.classes)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Images that the network alone answers rightly."""
        right: NDArray[np.bool_] = self.answers.raw_labels == self.test.labels
        return right

    def flagged(self, rows: NDArray[np.bool_]) -> Rate:
        return Rate(int(self.answers.flagged[rows].sum()), int(rows.sum()))


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {
        "blobs": trained(blobs(4000, seed=1), 10, steps=250),
        "digits": trained(digits().take(slice(0, 700)), 10, steps=250),
    }


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def few(
    request: pytest.FixtureRequest,
    networks: dict[str, nn.Module],
    tmp_path_factory: pytest.TempPathFactory,
) -> FewClasses:
    name, classes, screen_rate = request.param
    test = blobs(4000, seed=2) if name == "blobs" else digits().take(slice(700, None))
    own = (blobs(4000, seed=3) if name == "blobs" else test).of(classes)
    half = len(own.labels) // 2
    path: Path = tmp_path_factory.mktemp("few") / "model.onnx"
    report = export_defended(
        networks[name],
        own.images[:half],
        own.labels[:half],
        path,
        calibration=(own.images[half:], own.labels[half:]),
        config=quick(screen_rate=screen_rate),
    )
    with DefendedSession(path, device="cpu", threads=1) as session:
        return FewClasses(classes, report, test, session.predict(test.inputs))


def test_images_of_the_other_classes_are_not_flagged_for_being_strange(few: FewClasses) -> None:
    rows = few.strange & few.right
    assert rows.sum() > 300 and len(set(few.test.labels[rows].tolist())) == 10 - len(few.classes)
    allowed = Rate(round(2 * BUDGET * int(rows.sum())), int(rows.sum()))
    assert few.flagged(rows).value <= allowed.interval[1], few.flagged(rows)


def check_that_answers_are_kept(few: FewClasses) -> None:
    strange = few.strange
    raw, defended = (few.answers.raw_labels == few.test.labels), (few.answers.labels == few.test.labels)
    assert raw[strange].mean() > 0.6
    assert defended[strange].mean() >= raw[strange].mean() - 2 * BUDGET
    kept = ~few.answers.flagged
    assert np.array_equal(few.answers.logits[kept], few.answers.raw_logits[kept])


def check_that_its_own_classes_keep_the_budget(few: FewClasses) -> None:
    rate = few.flagged(~few.strange & few.right)
    assert rate.interval[0] <= BUDGET, rate


def test_their_answers_are_kept(few: FewClasses) -> None:
    check_that_answers_are_kept(few)


def test_those_of_its_own_classes_keep_the_budget(few: FewClasses) -> None:
    check_that_its_own_classes_keep_the_budget(few)


def test_of_the_others_there_is_no_centre_and_nothing_is_said(few: FewClasses) -> None:
    spec, gate = few.report.spec, few.report.manifest.gate
    assert gate is not None and gate.centres == len(spec.typicality.centres) == len(few.classes)
    for scale in (spec.gate.disagreement_scale, spec.gate.typicality_scale):
        assert np.flatnonzero(scale.inverse_std[:, 0]).tolist() == list(few.classes)


@pytest.fixture(scope="module", params=[(3, 12), (8, 25)], ids=str)
def rare(
    request: pytest.FixtureRequest, networks: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> FewClasses:
    """An export with a few images of classes 4 and 7, for each half, and some 200 of all others."""
    own = blobs(4000, seed=3)
    seen = np.ones(len(own.labels), bool)
    for label, count in zip((4, 7), request.param, strict=True):
        seen[np.flatnonzero(own.labels == label)[2 * count :]] = False
    own = own.take(seen)
    even = np.zeros(len(own.labels), bool)
    for label in range(10):
        even[np.flatnonzero(own.labels == label)[::2]] = True
    path: Path = tmp_path_factory.mktemp("rare") / "model.onnx"
    report = export_defended(
        networks["blobs"],
        own.images[even],
        own.labels[even],
        path,
        calibration=(own.images[~even], own.labels[~even]),
        config=quick(),
    )
    test = blobs(4000, seed=2)
    with DefendedSession(path, device="cpu", threads=1) as session:
        return FewClasses(
            tuple(label for label in range(10) if label not in (4, 7)),
            report,
            test,
            session.predict(test.inputs),
        )


def test_images_of_rare_classes_are_not_flagged_for_being_rare(rare: FewClasses) -> None:
    for label in (4, 7):
        rows = rare.right & (rare.test.labels == label)
        assert rows.sum() > 100
        allowed = Rate(round(2 * BUDGET * int(rows.sum())), int(rows.sum()))
        assert rare.flagged(rows).value <= allowed.interval[1], (label, rare.flagged(rows))
    check_that_its_own_classes_keep_the_budget(rare)
    check_that_answers_are_kept(rare)


def test_one_class_alone_is_no_choice() -> None:
    assert (one_of_classes(1), one_of_classes(2)) == ("the class", "one of the 2 classes")


def test_rare_classes_are_named_and_have_no_centre(rare: FewClasses) -> None:
    verdict, coverage = rare.report.manifest.verdict, rare.report.manifest.coverage
    assert verdict is not None and coverage is not None
    assert (coverage.with_images, coverage.without_images) == (10, 0)
    assert coverage.silent == ("typicality", "disagreement")
    assert any("give more images of class 4, class 7: with fewer than 50" in text for text in verdict.advice)
    assert any("one of the 2 classes without images, or with next to none" in text for text in verdict.misses)
    assert len(rare.report.spec.typicality.centres) == 8
