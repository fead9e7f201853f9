"""Functions that worker processes import by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NoReturn

from nip_runtime.operate.bulk.parts import Counts
from nip_runtime.operate.bulk.plan import Shard
from nip_runtime.operate.bulk.shard import Job, run_shard

POISON = 2


def die(code: int = 3) -> NoReturn:
    os._exit(code)


def stillborn(_pipe: object) -> NoReturn:
    die()


def die_once(marker: str) -> int:
    """Killed as by the kernel at the first call; its process at the second."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def whoami(_: int = 0) -> int:
    return os.getpid()


def unpicklable() -> NoReturn:
    raise OSError(lambda: None)


def wait_long(started: str, cleaned: str) -> None:
    try:
        Path(started).touch()
        time.sleep(60)
    finally:
        Path(cleaned).touch()


def poisoned(job: Job, shard: Shard) -> Counts:
    """One shard kills whoever does it."""
    if shard.number == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_shard(job, shard)


def failing(job: Job, shard: Shard) -> Counts:
    """One shard fails, always."""
    if shard.number == POISON:
        raise ZeroDivisionError("of no use")
    return run_shard(job, shard)


def hopeless(job: Job, shard: Shard) -> NoReturn:
    raise ZeroDivisionError("of no use at all")


def lacking(job: Job, shard: Shard) -> NoReturn:
    raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
