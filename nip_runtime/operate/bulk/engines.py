"""Who runs the shards: processes here, or the workers of a Dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nip_runtime.errors import DeviceError, NipError
from nip_runtime.operate.bulk.config import BatchConfig, EngineName
from nip_runtime.operate.bulk.pool import SupervisedPool
from nip_runtime.run.providers import CPU, resolve, usable_cores
from nip_runtime.support.dependencies import load

_LOCAL_ATTEMPTS: Final = 4
_DASK_ATTEMPTS: Final = 2
"""Of the scheduler's, which by itself gives a task to another worker three times when one dies."""
_WORKERS_WITHIN_S: Final = 60


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An executor, and what must be known of it.

    Attributes:
        executor: runs calls elsewhere.
        slots: how many shards it can run at once, now; raises DeviceError once the engine itself is lost.
        threads: CPU threads for each of them.
        attempts: how often a shard is tried that fails or kills its worker.
    """

    executor: Executor
    slots: Callable[[], int]
    threads: int
    attempts: int


@contextmanager
def running(config: BatchConfig) -> Iterator[Engine]:
    """The engine that the user asked for; leaving with an error drops what it is doing.

    Raises:
        DeviceError: if there is no such device, scheduler or worker.
        DependencyError: if onnxruntime or distributed is missing.
    """
    opened = _dask(config) if config.engine is EngineName.DASK else _local(config)
    with opened as engine:
        yield engine


@contextmanager
def _local(config: BatchConfig) -> Iterator[Engine]:
    cores = usable_cores().count
    # A GPU is shared by one session's runs better than by several sessions with memory of their own.
    default = cores if resolve(config.device).provider == CPU else 1
    workers = config.workers or default
    pool = SupervisedPool(workers)
    try:
        yield Engine(
            executor=pool,
            slots=lambda: workers,
            threads=config.threads or max(1, cores // workers),
            attempts=_LOCAL_ATTEMPTS,
        )
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


@contextmanager
def _dask(config: BatchConfig) -> Iterator[Engine]:
    distributed: Any = load("distributed")
    with (
        _silenced("distributed", "distributed.client", "tornado.application"),
        _client(distributed, config) as client,
    ):
        _await_workers(client, config)
        executor = client.get_executor(pure=False)
        try:
            yield Engine(
                executor=executor,
                slots=lambda: _slots(client, config),
                threads=config.threads or 1,
                attempts=_DASK_ATTEMPTS,
            )
        finally:
            executor.shutdown(wait=False)


@contextmanager
def _silenced(*loggers: str) -> Iterator[None]:
    """What goes wrong is said in our words; these would add tracebacks."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _client(distributed: Any, config: BatchConfig) -> Iterator[Any]:
    try:
        client = distributed.Client(config.scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeviceError.mismatch(
            expected=f"a Dask scheduler at {config.scheduler}",
            got=" ".join(str(error).split()),
            fix="start one with `dask scheduler`, or check the address",
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=5)


def _await_workers(client: Any, config: BatchConfig) -> None:
    try:
        client.wait_for_workers(1, timeout=_WORKERS_WITHIN_S)
    except TimeoutError as error:
        raise DeviceError.mismatch(
            expected=f"a worker at the scheduler {config.scheduler}",
            got=f"none within {_WORKERS_WITHIN_S} s",
            fix=f"start one: dask worker {config.scheduler} --nthreads 1",
        ) from error


def _slots(client: Any, config: BatchConfig) -> int:
    """Threads of all workers; more shards at once would only queue, and be suspects when a worker dies."""
    try:
        if client.status == "running":
            return sum(client.nthreads().values())
        got = "no connection any more"
    except (OSError, TimeoutError) as error:
        got = str(error) or type(error).__name__
    raise DeviceError.mismatch(
        expected=f"the Dask scheduler at {config.scheduler} to stay",
        got=got,
        fix="start it again, and run the same command again to go on",
    )


def explain(error: BaseException) -> str:
    """Why a shard failed, in one line."""
    if isinstance(error, NipError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
