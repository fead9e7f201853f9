"""Observers in other processes: pickled, spawned and forked."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nip_runtime.observe import (
    Audit,
    AuditFile,
    Composed,
    Counters,
    DriftWatch,
    Expected,
    Learned,
    Totals,
    compose,
    merged,
)
from nip_runtime.result import Reason
from nip_runtime.session import DefendedSession
from tests.observe.answers import answer, flags

GUARDED = Path(__file__).parents[1] / "goldens" / "guarded.onnx"


def work(session: DefendedSession, images: Any) -> Totals:
    session.predict(images)
    assert isinstance(session.observer, Composed)
    counters, *_ = session.observer.observers
    assert isinstance(counters, Counters)
    return counters.snapshot()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_snapshots_of_several_processes_add_up(tmp_path: Path) -> None:
    counters, audit = Counters(), AuditFile(tmp_path / "flagged.jsonl")
    watch = DriftWatch(Expected(0.01, 0.03))
    with DefendedSession(
        GUARDED, device="cpu", threads=1, observer=compose(counters, watch, audit)
    ) as session:
        images = np.random.default_rng(0).integers(0, 256, (8, *shape(session)), dtype=np.uint8)
        flagged = int(session.predict(images).flagged.sum())
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            theirs = pool.submit(work, session, images).result()
    assert theirs.rows == 8  # not 16: the copy counts its own
    total = merged([counters.snapshot(), theirs])
    assert (total.rows, total.calls, total.flagged) == (16, 2, 2 * flagged)
    assert flagged > 0
    audit.close()
    lines = (tmp_path / "flagged.jsonl").read_text(encoding="utf-8").splitlines()
    indices = [json.loads(line)["index"] for line in lines]
    assert len(indices) == 2 * flagged
    assert indices[:flagged] == indices[flagged:]


def shape(session: DefendedSession) -> tuple[int, int, int]:
    channels, height, width = session.manifest.input.shape
    return height, width, channels


def test_copies_start_anew(tmp_path: Path) -> None:
    counters = Counters()
    watch, learner = DriftWatch(Expected(0.1, 0.2), alpha=0.5, horizon_rows=7), DriftWatch(Learned(rows=123))
    with AuditFile(tmp_path / "flagged.jsonl", class_names=("a", "b")) as audit:
        for observer in (counters, watch, learner, audit):
            observer.observe(flags(True, False), duration_s=0.1)
        assert pickle.loads(pickle.dumps(counters)).snapshot() == Totals()
        state = pickle.loads(pickle.dumps(watch)).state()
        assert (state.rows, state.expected) == (0, Expected(0.1, 0.2))
        assert state.threshold == watch.state().threshold == 2 * 7 / 0.5
        copied = pickle.loads(pickle.dumps(learner))
        copied.see([False] * 122)
        assert copied.state().expected is None
        copied.see([False])
        assert copied.state().expected is not None
        with pickle.loads(pickle.dumps(audit)) as copy:
            copy.observe(flags(True), duration_s=0.1)
    lines = audit.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label_name"] for line in lines] == ["a", "a"]


def test_an_audit_pickles_if_its_function_does() -> None:
    pickle.loads(pickle.dumps(Audit(print))).observe(answer([Reason.PASSED]), duration_s=0.1)
    with (
        DefendedSession(GUARDED, device="cpu", threads=1, observer=Audit(lambda row: None)) as session,
        pytest.raises((pickle.PicklingError, AttributeError), match="lambda"),
    ):
        pickle.dumps(session)


def locked(path: Path) -> dict[str, tuple[Any, Callable[[], object]]]:
    """By name: a lock, and what has to wait for it."""
    counters, watch, audit = Counters(), DriftWatch(Expected(0.01, 0.03)), AuditFile(path)
    passed, flagged = flags(False), flags(True)
    return {
        "an answer that passed": (counters._lock, lambda: counters.observe(passed, duration_s=0.1)),
        "a flagged answer": (counters._lock, lambda: counters.observe(flagged, duration_s=0.1)),
        "an error": (counters._lock, lambda: counters.observe_error(ValueError(), duration_s=0.1)),
        "counts": (counters._lock, counters.snapshot),
        "flags": (watch._lock, lambda: watch.see([False])),
        "a state": (watch._lock, watch.state),
        "lines": (audit._lock, lambda: audit.observe(flagged, duration_s=0.1)),
        "numbers of rows": (audit._rows._lock, lambda: audit.observe(passed, duration_s=0.1)),
        "an end": (audit._lock, audit.close),
    }


@pytest.mark.parametrize("what", locked(Path(os.devnull)))
def test_nobody_reads_or_writes_counts_while_another_writes(what: str, tmp_path: Path) -> None:
    """Held for sure: where this Python changes threads, a race that is lost would show once in years."""
    lock, act = locked(tmp_path / "flagged.jsonl")[what]
    thread = threading.Thread(target=act, daemon=True)
    with lock:
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join(20)
    assert not thread.is_alive()


def in_child(check: Callable[[], bool]) -> int:
    """Exit status of a forked child that runs a check; a hanging one is killed by its alarm clock."""
    import signal

    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_call_does_no_harm(tmp_path: Path) -> None:
    """While another thread holds every lock, as it would within `observe`."""
    counters, watch = Counters(), DriftWatch(Expected(0.01, 0.03))
    audit = AuditFile(tmp_path / "flagged.jsonl")
    observers = (counters, watch, audit)
    for observer in observers:
        observer.observe(flags(True, False), duration_s=0.1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with counters._lock, watch._lock, audit._lock, audit._rows._lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def check() -> bool:
        for observer in observers:
            observer.observe(flags(True), duration_s=0.1)
        return counters.snapshot().rows == watch.state().rows == 1

    assert in_child(check) == 0
    done.set()
    thread.join()
    assert counters.snapshot().rows == 2
    audit.close()
    lines = audit.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 0]
