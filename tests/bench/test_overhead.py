"""What predict adds is what it does outside onnxruntime's run, however long that run takes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from nip_runtime import predicting
from nip_runtime import session as front_door
from nip_runtime.file.artifact import read_artifact
from nip_runtime.inputs import arrays as inputs
from nip_runtime.operate.bench import overhead
from nip_runtime.operate.bench.overhead import LEAST_CALLS, Clocked, measure_overhead
from nip_runtime.operate.bench.report import Overhead
from nip_runtime.operate.bench.shares import random_inputs
from nip_runtime.run.providers import SessionSettings

SLOW_S = 0.02


def _measure(path: Path, rounds: int | None = 3) -> Overhead:
    row = random_inputs(read_artifact(path).manifest.input, 1)
    return measure_overhead(
        path, row, settings=SessionSettings(threads=1), rounds=rounds, progress=lambda *_: lambda _: None
    )


def test_work_of_predict_counts(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = inputs.check_kind

    def slowly(images: object, spec: object) -> object:
        time.sleep(SLOW_S)
        return checked(images, spec)  # type: ignore[arg-type]

    monkeypatch.setattr(predicting, "check_kind", slowly)
    found = _measure(guarded)
    assert found.rounds == 3
    assert found.added_us.low >= SLOW_S * 1e6
    assert found.predict_us.low >= found.added_us.low


def test_work_of_onnxruntime_does_not(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is made 20 ms longer; what is added stays below the whole by as much."""
    run = Clocked.run

    class Slow:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def run(self, *arguments: object) -> object:
            time.sleep(SLOW_S)
            return self._inner.run(*arguments)  # type: ignore[attr-defined]

    def slowly(self: Clocked, *arguments: object) -> object:
        if not isinstance(self._session, Slow):
            self._session = Slow(self._session)
        return run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(overhead.Clocked, "run", slowly)
    found = _measure(guarded)
    assert found.predict_us.low >= SLOW_S * 1e6
    assert found.predict_us.median - found.added_us.median >= SLOW_S * 1e6


def test_the_clock_changes_no_answer_and_counts_every_run(guarded: Path) -> None:
    row = random_inputs(read_artifact(guarded).manifest.input, 1)
    with front_door.DefendedSession(guarded, device="cpu", engine="fused", threads=1) as session:
        plain = session.predict(row)
        clock = overhead._clocked(session)
        clocked = session.predict(row)
    assert len(clock.runs_s) == 1
    assert clock.runs_s[0] > 0
    for name in ("logits", "raw_logits", "suspicion", "flagged", "candidate"):
        assert np.array_equal(getattr(plain, name), getattr(clocked, name))


def test_calls_are_counted_by_time_without_a_number(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "_BUDGET_S", 0.0)
    assert _measure(guarded, rounds=None).rounds == LEAST_CALLS
