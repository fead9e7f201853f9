"""One session in many threads, closed under their hands, collected, left open at the end of the process."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from benchmarks.hardening.memory import serve
from benchmarks.hardening.soak import ENGINES, soak
from benchmarks.hardening.traffic import GOLDENS, MOST_ROWS, golden_pool
from nip_runtime import DefendedSession, InputError

GUARDED = GOLDENS / "guarded.onnx"


@pytest.mark.parametrize("engine", ENGINES)
def test_sixteen_threads_get_the_answers_of_one(engine: str) -> None:
    """The short form of ``python -m benchmarks.hardening.soak``."""
    tally = soak(engine, threads=16, seconds=1.0)
    assert tally.errors == ()
    assert tally.mismatches == 0
    assert tally.batches >= 32
    assert 0 < tally.flagged < tally.rows


def test_the_comparison_sees_one_wrong_bit() -> None:
    path, pool = golden_pool("guarded")
    rows = pool.answers.flagged.nonzero()[0][:3]
    with DefendedSession(path, device="cpu", engine="gated", threads=1) as session:
        got = session.predict(pool.images[rows])
        assert not pool.differs(rows, got)
        got.suspicion.view("u4")[1] ^= 1
        assert pool.differs(rows, got)
        got.suspicion.view("u4")[1] ^= 1
        got.labels[0] += 1
        assert pool.differs(rows, got)


def test_memory_is_steady() -> None:
    """The short form of ``python -m benchmarks.hardening.memory``, in a process of its own."""
    script = (
        "import sys; from pathlib import Path; from benchmarks.hardening.memory import serve\n"
        "held = serve(Path(sys.argv[1]), batches=1500, threads=2)\n"
        "print(held.drift, held.excursion, held.warm)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(GUARDED)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drift, excursion, warm = map(float, done.stdout.split())
    assert abs(drift) <= 0.05
    assert abs(excursion) <= 0.05
    assert warm > 2**20


def test_a_failure_while_serving_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(GUARDED.read_bytes()[:-1])
    with pytest.raises(Exception, match=r"model\.onnx"):
        serve(broken, batches=40, threads=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_closing_lets_running_predictions_finish(engine: str) -> None:
    path, pool = golden_pool("guarded")
    many = pool.images.repeat(MOST_ROWS, axis=0)
    expected = pool.answers.logits.repeat(MOST_ROWS, axis=0)
    for _ in range(5):
        session = DefendedSession(path, device="cpu", engine=engine, threads=1, max_batch=MOST_ROWS)
        started = threading.Barrier(9)
        finished: list[bool] = []
        refused: list[str] = []

        def work(
            session: DefendedSession = session,
            started: threading.Barrier = started,
            finished: list[bool] = finished,
            refused: list[str] = refused,
        ) -> None:
            started.wait()
            try:
                while True:
                    finished.append((session.predict(many).logits == expected).all())
            except InputError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        started.wait()
        session.close()
        session.close()
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive()
        assert all(finished)
        said = "expected an open session, got a closed one; open the file in a new DefendedSession"
        assert refused == [said] * 8


def test_every_use_after_close_is_refused() -> None:
    with DefendedSession(GUARDED, device="cpu", threads=1) as session:
        images = golden_pool("guarded")[1].images
    for use in (
        lambda: session.predict(images),
        lambda: session.predict_tensor(images),
        lambda: session.predict_stream(images),
        session.warmup,
        session.release_memory,
        lambda: session.engine,
    ):
        with pytest.raises(InputError, match="expected an open session, got a closed one"):
            use()
    assert session.path == GUARDED
    assert "guarded.onnx" in repr(session)


def test_closing_and_collecting_free_the_model() -> None:
    path, pool = golden_pool("guarded")
    session = DefendedSession(path, device="cpu", engine="gated", threads=1)
    session.predict(pool.images)
    assert session._opened is not None
    engine = weakref.ref(session._opened.engine)
    gc.disable()
    try:
        session.close()
        assert engine() is None, "close() frees without the collector"
        other = DefendedSession(path, device="cpu", engine="fused", threads=1)
        assert other._opened is not None
        engine = weakref.ref(other._opened.engine)
        del other
        assert engine() is None, "and so does the last reference"
    finally:
        gc.enable()


LEFT_OPEN = """
import sys, threading, itertools
import numpy as np
from nip_runtime import DefendedSession

images = np.load(sys.argv[2])["images"]
sessions = [DefendedSession(sys.argv[1], device="cpu", engine=e, threads=2) for e in ("fused", "gated")]
stream = sessions[0].predict_stream(itertools.cycle(images), batch=8)
for _ in range(20):
    next(stream)
def work():
    while True:
        sessions[1].predict(images)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
for _ in range(20):
    sessions[1].predict(images)
print("leaving", flush=True)
"""


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_a_process_ends_with_sessions_and_streams_open(ending: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN + ending, str(GUARDED), str(GUARDED.with_suffix(".npz"))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "leaving\n"
    assert done.returncode == {"": 0, "sys.exit(3)": 3}.get(ending, -2), done.stderr
    assert "Traceback" not in done.stderr or ending.startswith("raise")
