from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from nip_runtime.errors import DeviceError, InputError
from nip_runtime.operate.bulk.pool import SupervisedPool, WorkerLostError
from tests.bulk import made


@pytest.fixture(scope="module")
def pool() -> Iterator[SupervisedPool]:
    with SupervisedPool(1) as one:
        yield one


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_tasks_share_one_process_and_bring_results(pool: SupervisedPool) -> None:
    pids = {pool.submit(made.whoami, 0).result(30) for _ in range(3)}
    assert len(pids) == 1
    assert pids.pop() in {child.pid for child in psutil.Process().children()}


def test_errors_come_back_as_they_are(pool: SupervisedPool) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        pool.submit(int, "x").result(30)
    with pytest.raises(InputError, match="expected a, got b; c"):
        pool.submit(_refuse).result(30)
    with pytest.raises(RuntimeError, match="OSError: <function"):
        pool.submit(made.unpicklable).result(30)


def _refuse() -> None:
    raise InputError.mismatch(expected="a", got="b", fix="c")


def test_a_dead_worker_fails_its_task_only_and_is_replaced(pool: SupervisedPool, tmp_path: Path) -> None:
    before = pool.submit(made.whoami).result(30)
    lost: Future[int] = pool.submit(made.die_once, str(tmp_path / "marker"))
    queued = pool.submit(made.whoami)
    with pytest.raises(WorkerLostError, match="its worker ended with signal SIGKILL"):
        lost.result(30)
    assert queued.result(30) != before
    with pytest.raises(WorkerLostError, match="exit code 3"):
        pool.submit(made.die).result(30)


def test_an_idle_worker_that_was_killed_costs_one_task_at_most(pool: SupervisedPool) -> None:
    psutil.Process(pool.submit(made.whoami).result(30)).kill()
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        pool.submit(made.whoami).result(30)
    assert pool.submit(made.whoami).result(30)


def test_shutting_down_at_once_lets_the_worker_clean_up(tmp_path: Path) -> None:
    pool = SupervisedPool(1)
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"
    running = pool.submit(made.wait_long, str(started), str(cleaned))
    waiting = pool.submit(made.whoami)
    wait_for(started)
    began = time.monotonic()
    pool.shutdown(cancel_futures=True)
    assert time.monotonic() - began < 8
    assert cleaned.exists()
    assert isinstance(running.exception(1), WorkerLostError)
    assert waiting.cancelled()


def test_a_worker_that_can_not_start_is_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nip_runtime.operate.bulk.pool._work", made.stillborn
    )  # before it says that it is ready
    with (
        SupervisedPool(1) as pool,
        pytest.raises(DeviceError, match="a worker process to start, got exit code 3"),
    ):
        pool.submit(made.whoami).result(60)
