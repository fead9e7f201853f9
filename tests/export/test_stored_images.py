"""From images that were stored as JPEG to a file whose second look begins with JPEG, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export import ExportConfig, ExportReport, export_defended
from nip_export.calibrate import view
from nip_export.calibrate.view import ENOUGH_KEPT
from nip_export.fit.stages import INVERSE, VIEW
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import Manifest, ViewStep
from tests.export.stored import QUALITY, Pixels, pictures, stored_pictures, trained


class Bars:
    """How far every stage was to go, and how far it went."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}

    def __call__(self, title: str, total: int) -> Callable[[int], None]:
        self.totals[title], self.done[title] = total, 0

        def advance(done: int) -> None:
            self.done[title] += done

        return advance


STORED, PLAIN = Bars(), Bars()


def exported(folder: Path, images: Pixels, labels: NDArray[np.int64], bars: Bars) -> ExportReport:
    config = ExportConfig(benign_budget=0.05, ascent_steps=2)
    model = trained(images, labels)
    return export_defended(model, images, labels, folder / "f.onnx", config=config, progress=bars)


def manifest_of(report: ExportReport) -> Manifest:
    """As it stands in the file."""
    return read_artifact(report.path).manifest


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return exported(tmp_path_factory.mktemp("stored"), *stored_pictures(), STORED)


@pytest.fixture(scope="module")
def never_stored(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return exported(tmp_path_factory.mktemp("plain"), *pictures(), PLAIN)


def test_the_view_begins_with_their_round_trip(stored: ExportReport, never_stored: ExportReport) -> None:
    gate, other = manifest_of(stored).gate, manifest_of(never_stored).gate
    assert gate is not None and other is not None
    assert gate.view[0] is ViewStep.JPEG_75 and len(gate.view) > 1
    assert all(one.view[0] is ViewStep.JPEG_75 for one in gate.views_tried if one.view)
    assert not any(step.quality for one in other.views_tried for step in one.view)


def test_where_views_move_right_answers_too_far_a_change_of_brightness_is_tried_as_well(
    stored: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brighter = (ViewStep.JPEG_75, ViewStep.GAIN)
    gate = manifest_of(stored).gate
    assert gate is not None and all(one.kept.value >= ENOUGH_KEPT for one in gate.views_tried if one.view)
    assert brighter not in [one.view for one in gate.views_tried]
    monkeypatch.setattr(view, "ENOUGH_KEPT", 1.01)
    bars = Bars()
    other = manifest_of(exported(tmp_path, *stored_pictures(), bars)).gate
    assert other is not None and brighter in [one.view for one in other.views_tried]
    for measured in (STORED, bars):
        assert measured.done[VIEW] == measured.totals[VIEW]


def test_behind_a_round_trip_no_perturbation_is_tried(
    stored: ExportReport, never_stored: ExportReport
) -> None:
    gate, other = manifest_of(stored).gate, manifest_of(never_stored).gate
    assert gate is not None and other is not None
    assert not gate.rho and not any(one.rho for one in gate.views_tried)
    assert not stored.spec.bank.adds
    assert any(one.rho for one in other.views_tried)


def test_summary_and_manifest_say_so_and_what_it_costs(
    stored: ExportReport, never_stored: ExportReport
) -> None:
    said, other = stored.summary(), never_stored.summary()
    assert f"begins with JPEG, for the benign images were stored at quality {QUALITY};" in said
    assert "begins with JPEG" not in other
    (limit,) = [text for text in manifest_of(stored).known_limits if "JPEG" in text]
    assert f"quality {QUALITY}" in limit and "flagged more often" in limit
    assert not any("JPEG" in text for text in manifest_of(never_stored).known_limits)


def test_the_verdict_names_smooth_colours_where_the_screen_minds_them(stored: ExportReport) -> None:
    assert stored.spec.gate.grain_tail is not None and stored.spec.gate.screen_threshold
    verdict = manifest_of(stored).verdict
    assert verdict is not None
    (miss,) = [text for text in verdict.misses if "the screen does not pick them" in text]
    assert miss.startswith("inputs whose features look benign while ")
    assert ", and whose colours are as smooth as a photograph's: " in miss


def test_every_bar_reaches_its_end(stored: ExportReport, never_stored: ExportReport) -> None:
    assert stored.path.is_file() and never_stored.path.is_file()
    for bars in (STORED, PLAIN):
        assert bars.done == bars.totals
    assert INVERSE in PLAIN.totals and INVERSE not in STORED.totals
