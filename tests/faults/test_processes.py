"""Sessions in other processes: forked, spawned, pickled into pools, and killed."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from benchmarks.hardening.traffic import GOLDENS, golden_pool
from nip_runtime import ArtifactError, DefendedSession, SessionSettings
from tests.faults import workers

ENGINES = ("fused", "gated")
METHODS = [m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_session_made_before_a_fork_serves_parent_and_child(engine: str, threads: int) -> None:
    path, pool = golden_pool("guarded")
    with DefendedSession(path, device="cpu", engine=engine, threads=threads) as session:
        before = session.predict(pool.images).logits
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        children = [
            context.Process(target=workers.answer_into, args=(queue, session, pool.images)) for _ in range(2)
        ]
        for child in children:
            child.start()
        answers = [queue.get() for _ in children]
        for child in children:
            child.join(timeout=60)
            assert child.exitcode == 0
        assert {pid for _, pid in answers} == {child.pid for child in children}
        assert all(logits.tobytes() == before.tobytes() for logits, _ in answers)
        assert session.predict(pool.images).logits.tobytes() == before.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_pools_take_sessions_and_answer_as_one_process(method: str) -> None:
    path, pool = golden_pool("guarded")
    settings = SessionSettings(threads=1, prepacking=False)
    with (
        DefendedSession(path, device="cpu", engine="gated", settings=settings, max_batch=7) as session,
        ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor,
    ):
        expected = session.predict(pool.images).logits.tobytes()
        futures = [executor.submit(workers.answer, session, pool.images) for _ in range(4)]
        answers = [future.result(timeout=120) for future in futures]
    assert all(logits.tobytes() == expected for logits, _ in answers)
    assert os.getpid() not in {pid for _, pid in answers}


def test_a_killed_worker_is_told_and_others_go_on() -> None:
    path, pool = golden_pool("guarded")
    context = multiprocessing.get_context("spawn")
    with DefendedSession(path, device="cpu", engine="gated", threads=1) as session:
        expected = session.predict(pool.images).logits.tobytes()
        wrong: list[bytes] = []
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                if (got := session.predict(pool.images).logits.tobytes()) != expected:
                    wrong.append(got)

        beside = threading.Thread(target=go_on)
        beside.start()
        try:
            with ProcessPoolExecutor(1, context, initializer=workers.keep, initargs=(session,)) as executor:
                assert executor.submit(workers.answer_kept, pool.images).result()[0].tobytes() == expected
                with pytest.raises(BrokenProcessPool):
                    executor.submit(workers.die, pool.images).result(timeout=60)
            with ProcessPoolExecutor(1, context, initializer=workers.keep, initargs=(session,)) as another:
                assert another.submit(workers.answer_kept, pool.images).result()[0].tobytes() == expected
        finally:
            stop.set()
            beside.join()
        assert not wrong
        assert session.predict(pool.images).logits.tobytes() == expected


def test_pickling_opens_the_file_again_and_checks_it_again(tmp_path: Path) -> None:
    source, pool = golden_pool("guarded")
    path = tmp_path / "model.onnx"
    path.write_bytes(source.read_bytes())
    with DefendedSession(path, device="cpu", engine="fused", threads=1, max_batch=9) as session:
        expected = session.predict(pool.images).logits.tobytes()
        pickled = pickle.dumps(session)
    assert len(pickled) < 2000, "the path travels, not the model"
    with pickle.loads(pickled) as copy:
        assert (copy.engine, copy.path) == ("fused", path)
        assert copy.predict(pool.images).logits.tobytes() == expected
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1
    for bad in (bytes(content), content[:-9], b"", b"not a model at all"):
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match=r"model\.onnx"):
            pickle.loads(pickled)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        pickle.loads(pickled)


def test_a_worker_tells_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((GOLDENS / "guarded.onnx").read_bytes())
    images = golden_pool("guarded")[1].images
    with DefendedSession(path, device="cpu", engine="gated", threads=1) as session:
        path.write_bytes((GOLDENS / "guarded.onnx").read_bytes()[:-100])
        context = multiprocessing.get_context("spawn")
        queue = context.SimpleQueue()
        child = context.Process(target=workers.answer_into, args=(queue, session, images))
        child.start()
        child.join(timeout=60)
        assert child.exitcode == 1, "it ends, with its error, and hangs nowhere"
        assert len(session.predict(images)) == len(images), "what is open stays as it was checked"
