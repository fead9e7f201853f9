"""Attacks through HTTP count every question once, and their tables are the kept results'."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.service import benign, table
from benchmarks.service.attacks import ATTACKS, attack
from benchmarks.service.server import serving
from benchmarks.service.victim import STUCK, Client, Enough, LabelVictim, Record
from nip_evaluate.scoring.bootstrap import draw_weights
from nip_export.demo.build_assets import Labelled

GOLDEN = Path(__file__).parents[1] / "goldens" / "guarded.onnx"


def test_a_record_keeps_the_smallest_in_each_norm() -> None:
    record = Record()
    for asked, l2, linf in ((3, 5.0, 0.5), (4, 6.0, 0.4), (9, 7.0, 0.9), (10, 1.0, 0.8)):
        record.asked = asked
        record.found(l2, linf)
    assert record.smallest(2) == (float("inf"), float("inf"))
    assert record.smallest(3) == (5.0, 0.5)
    assert record.smallest(9) == (5.0, 0.4)
    assert record.smallest(10) == (1.0, 0.4)
    assert record.first_within(l2=2.0) == 10 and record.first_within(linf=0.45) == 4
    assert record.first_within(l2=0.5) is None


def test_a_question_is_asked_and_noted_once(tmp_path: Path) -> None:
    with np.load(GOLDEN.with_suffix(".npz")) as golden:
        clean = torch.from_numpy((golden["images"][:2].astype(np.float32) / 255)[:, None])
        truth = torch.from_numpy(golden["logits"][:2].argmax(1))
    with (
        serving(GOLDEN, tmp_path / "log", "--threads", "1") as running,
        Client(running.port, name="test") as client,
    ):
        victim = LabelVictim(client, clean, truth, classes=10, budget=5)
        for _ in range(3):
            assert (victim(clean).argmax(1) == truth).all()
        assert running.metrics()["nip_drift_rows_total"] == 2
        client._connection.sock.shutdown(socket.SHUT_RDWR)  # as after a while without a question
        victim.rows = [1]
        assert victim(clean[1:].flip(3)).shape == (1, 10)
        assert [record.asked for record in victim.records] == [1, 2]
        assert victim.records[0].steps == []
        for _ in range(STUCK - 1):
            victim(clean[1:])
        with pytest.raises(Enough):
            victim(clean[1:])
    assert [record.asked for record in victim.records] == [1, 2]
    assert [record.is_stuck for record in victim.records] == [False, True]


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_through_http_counts_every_question(name: str, tmp_path: Path) -> None:
    with np.load(GOLDEN.with_suffix(".npz")) as golden:
        images = (golden["images"].astype(np.float32) / 255)[:, None]
        answers = golden["logits"].argmax(1)
    clean, truth = torch.from_numpy(images[:3]), torch.from_numpy(answers[:3])
    with (
        serving(GOLDEN, tmp_path / "log", "--threads", "1", "--watch-bursts") as running,
        Client(running.port, name="test", rows=2) as client,
    ):
        np.testing.assert_array_equal(client.labels(images[:5]), answers[:5])
        before = running.metrics()["nip_drift_rows_total"]
        victim = LabelVictim(client, clean, truth, classes=10, budget=60)
        started = attack(victim, ATTACKS[name], clean, truth, seed=0)
        asked = running.metrics()["nip_drift_rows_total"] - before
    assert started == 3
    assert [record.asked for record in victim.records] == [60] * 3
    assert 180 <= asked < 260, "those beyond an image's budget are asked for the others' sake"
    assert all(np.isfinite(record.smallest(60)[0]) for record in victim.records)
    assert all(record.steps[0][1] >= record.steps[-1][1] > 0 for record in victim.records)
    assert all(record.burst_row is not None and 16 < record.burst_row <= 60 for record in victim.records)


def test_a_film_is_near_duplicates_and_shuffled_images_are_not() -> None:
    with np.load(GOLDEN.with_suffix(".npz")) as golden:
        images, labels = golden["images"], golden["labels"]
    rng = np.random.default_rng(0)
    frames = benign.film(images[0], rng)
    assert frames.shape == (benign.FRAMES, 28, 28) and frames.dtype == np.uint8
    rows = benign.watched("golden", Labelled(images, labels))
    assert [row["is_video"] for row in rows] == [False, False, True]
    assert [row["alarmed"] for row in rows[:2]] == [0, 0]
    assert rows[2]["alarmed"] > 0


def made(factor: float, *, images: int = 40) -> dict[str, Any]:
    """One network's results whose defended changes are so many times the undefended ones."""
    base = np.random.default_rng(0).uniform(1, 2, (images, 3))

    def service(by: float) -> dict[str, Any]:
        return {
            "l2": (by * base).tolist(),
            "linf": (by * base / 10).tolist(),
            "first_l2": [None] * images,
            "first_linf": [7] * images,
            "asked": [2100, *[2000] * (images - 1)],
            "started": images,
            "burst_row": [20] * images,
            "operator": {"rows": 100, "flagged": 25, "drift": None, "burst_rows": 30},
        }

    attack = {
        "name": "HopSkipJump L2",
        "images": images,
        "services": {"defended": service(factor), "undefended": service(1.0)},
    }
    return {
        "network": "demo",
        "questions": [500, 2000, 5000],
        "epsilon": {"l2": 1.5, "linf": 25 / 255},
        "attacks": {"hsj-l2": attack},
    }


def test_a_defence_that_makes_the_attacker_faster_is_named() -> None:
    faster, slower = made(0.5), made(2.0)
    assert "faster**): 2 of 2 rows (" in table.verdict([faster]) and "after 500" in table.verdict([faster])
    assert "faster**): none of 2 rows; above 1 (slower): 2" in table.verdict([slower])
    rows = table.changes(faster, "hsj-l2")
    assert [row[3] for row in rows] == ["500", "2,000"], "beyond the budget nothing is claimed"
    assert rows[0][6] == "**0.50 (0.50–0.50)**, below 1 on 40 of 40"
    assert table.changes(slower, "hsj-l2")[0][6] == "2.00 (2.00–2.00), below 1 on 0 of 40"
    (undefended, _) = table.seen(faster, "hsj-l2")
    assert undefended[2] == "2,000"
    assert undefended[4:] == ["more than half never", "25.0 of 100", "never", "20 (20) [30]", "0 of 40"]


def test_a_stuck_attack_has_had_its_questions() -> None:
    network = made(2.0)
    found = network["attacks"]["hsj-l2"]["services"]["defended"]
    found["asked"][0], found["stuck"] = 300, [True] + [False] * 39
    assert table.reached(network["attacks"]["hsj-l2"]) == 2000
    found["stuck"][0] = False
    assert table.reached(network["attacks"]["hsj-l2"]) == 300


def test_an_image_that_withstands_is_counted_as_infinite() -> None:
    network = made(2.0)
    for row in network["attacks"]["hsj-l2"]["services"]["defended"]["l2"][:30]:
        row[0] = 1e9
    first = table.changes(network, "hsj-l2")[0]
    assert first[5].startswith("none (") and first[6].endswith("below 1 on 0 of 10")
    values = table.values_of(network["attacks"]["hsj-l2"], "undefended", "l2", 0)
    middle, resampled = table.estimate(values, draw_weights(40, 50))
    assert middle == np.median(values) and resampled.min() <= middle <= resampled.max()


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_a_number_changed_by_hand_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "results.md"
    shutil.copy(table.ROOT / "docs" / "results.md", page)
    text = page.read_text(encoding="utf-8")
    start = text.index(table.BLOCK.begin)
    page.write_text(text[:start] + text[start:].replace("(", "[", 1), encoding="utf-8")
    monkeypatch.setattr(table, "ROOT", tmp_path)
    assert table.main(["--check"]) == 1
    assert "results.md: tables differ" in capsys.readouterr().err


def test_the_results_are_whole() -> None:
    for network in table.read_networks():
        assert not network["commit"].endswith("+")
        for case in network["attacks"].values():
            for service in case["services"].values():
                assert len(service["asked"]) == case["images"] >= service["started"] >= 0.9 * case["images"]
                assert max(service["asked"]) <= network["budget"]
                smallest = np.array(service["l2"])
                assert (np.diff(smallest, axis=1) <= 0).all(), "more questions never find a larger one"
    assert json.loads((table.RESULTS / "benign.json").read_text(encoding="utf-8"))
