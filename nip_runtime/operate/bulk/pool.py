"""A pool of processes that outlives its workers: one that is killed is replaced, and the caller is told.

``concurrent.futures.ProcessPoolExecutor`` breaks as a whole when one of its processes dies.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final, ParamSpec, TypeVar

from nip_runtime.errors import DeviceError

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE_S: Final = 10.0
"""For a worker to clean up after SIGTERM, before it is killed."""
_STARTS: Final = 5
"""Workers that die before they can do anything, one after the other, until we give up."""
_TERMINATED: Final = 143


class WorkerLostError(Exception):
    """The process that did the work ended before it was done."""


@dataclass(frozen=True)
class _Task:
    future: Future[Any]
    message: bytes


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection


class SupervisedPool(Executor):
    """An executor over ``workers`` processes; each does one task at a time and keeps its state in between.

    A process that dies fails the one task that it had, with :class:`WorkerLostError`; a new one takes its
    place.
    """

    def __init__(self, workers: int) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._live: dict[int, _Worker] = {}
        self._is_stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._supervise, args=(place,), daemon=True, name=f"worker {place}")
            for place in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have ``fn`` called in a worker; function, arguments and result travel pickled."""
        future: Future[T] = Future()
        self._tasks.put(_Task(future, pickle.dumps((fn, args, kwargs))))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers: after what was submitted, or with ``cancel_futures`` now, dropping what they do.

        ``wait=False`` does not wait for threads and processes to end.
        """
        if cancel_futures:
            self._is_stopping.set()
            for worker in list(self._live.values()):
                with contextlib.suppress(ValueError):  # it has just ended and was let go
                    worker.process.terminate()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _supervise(self, place: int) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                if self._is_stopping.is_set() or not task.future.set_running_or_notify_cancel():
                    task.future.cancel()
                    continue
                try:
                    result = self._do(place, task.message)
                except Exception as error:
                    task.future.set_exception(error)
                else:
                    task.future.set_result(result)
        finally:
            self._dismiss(place)

    def _do(self, place: int, message: bytes) -> Any:
        worker = self._live.get(place) or self._start(place)
        try:
            worker.pipe.send_bytes(message)
            is_ok, result = _receive(worker)
        except (EOFError, OSError) as error:
            raise WorkerLostError(f"its worker ended with {self._dismiss(place)}") from error
        if is_ok:
            return result
        raise result

    def _start(self, place: int) -> _Worker:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        for _ in range(_STARTS):
            if self._is_stopping.is_set():
                break
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,), daemon=True, name=f"nip-batch-{place}")
            _start_without_interrupts(process)
            theirs.close()  # so that the pipe ends with the process
            worker = self._live[place] = _Worker(process, ours)
            if self._is_stopping.is_set():  # `shutdown` may have looked before it was there
                process.terminate()
            with contextlib.suppress(EOFError, OSError):
                _receive(worker)
                return worker
            ending = self._dismiss(place)
            _log.info("a worker ended with %s before it was ready", ending)
        else:
            raise DeviceError.mismatch(
                expected="a worker process to start", got=ending, fix="see above; it may lack memory"
            )
        raise WorkerLostError("the pool was shut down")

    def _dismiss(self, place: int) -> str:
        """Let a worker go, and say how it ended."""
        worker = self._live.pop(place, None)
        if worker is None:
            return "nothing to end"
        worker.pipe.close()  # an idle worker ends by itself
        worker.process.join(_PATIENCE_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        code = worker.process.exitcode
        worker.process.close()
        if code is None or code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"


def _start_without_interrupts(process: SpawnProcess) -> None:
    """Start a process that Ctrl-C on the terminal does not reach: it is the driver's to handle."""
    if hasattr(signal, "pthread_sigmask"):  # what this thread blocks is inherited, from the first moment on
        resource_tracker.ensure_running()  # else `start` does this, and unblocks
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process.start()


def _receive(worker: _Worker) -> Any:
    # A child's own children may keep its end of the pipe open, so its death is watched for too.
    wait([worker.pipe, worker.process.sentinel])
    if not worker.pipe.poll():
        raise EOFError
    return worker.pipe.recv()


def _work(pipe: Connection) -> None:
    """What a worker process does: one task after the other, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where nothing could be inherited
    # An exception unwinds the stack, and half-written files go; the signal's default would leave them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    from nip_runtime.operate.bulk import shard  # noqa: F401  # slow to load: "ready" comes after

    with contextlib.suppress(
        EOFError, OSError
    ):  # the driver was killed: what is written stays, the rest ends
        pipe.send((True, None))
        while True:
            fn, args, kwargs = pickle.loads(pipe.recv_bytes())
            try:
                answer = (True, fn(*args, **kwargs))
            except Exception as error:
                answer = (False, _portable(error))
            pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """The error, or its words where it can't travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
