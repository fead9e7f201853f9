from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.streaming import Setup, least_s, main, write_photos
from nip_runtime.inputs.images import read_image
from nip_runtime.session import DefendedSession


def setup(*, workers: int = 2, threads: int = 1) -> Setup:
    return Setup(
        model="m",
        engine="gated",
        images=8,
        image_size=(640, 480),
        batch=4,
        workers=workers,
        threads=threads,
        rounds=1,
    )


def test_the_benchmark_runs_compares_and_writes(
    session: DefendedSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "streaming.json"
    assert main([str(session.path), "--images", "9", "--rounds", "2", "--batch", "4", "--out", str(out)]) == 0
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["setup"]["images"] == 9
    assert set(written["seconds"]) == set(written["images_per_s"])
    assert {"one by one", "in batches", "stream 1", "stream 2"} < set(written["seconds"])
    for name in ("stream 1", "stream 2"):
        for found in (written["over_one_by_one"][name], written["over_batches"][name]):
            assert 0 < found["low"] <= found["median"] <= found["high"]
        assert 0 < written["predicted_over_batches"][name] <= 1
    assert capsys.readouterr().out.count("\n") == 8


def test_photos_are_as_large_as_photographs_and_the_same_every_time(tmp_path: Path) -> None:
    first, second = write_photos(tmp_path, 2)
    content = first.read_bytes()
    assert 60_000 < len(content) < 400_000
    assert content != second.read_bytes()
    assert read_image(first, channels=3).shape == (480, 640, 3)
    assert write_photos(tmp_path, 1)[0].read_bytes() == content


def test_what_is_predicted_by_hand() -> None:
    assert least_s(4.0, 6.0, setup(), runs=1, cores=2) == 6.0  # predicting is the slowest stage
    assert least_s(9.0, 1.0, setup(workers=1), runs=1, cores=2) == 9.0  # reading is
    assert least_s(4.0, 6.0, setup(threads=2), runs=2, cores=2) == 8.0  # no core is left: (4 + 2 · 6) / 2
    assert least_s(1.0, 6.0, setup(), runs=2, cores=2) == 3.5  # two runs of one thread: (1 + 6) / 2
