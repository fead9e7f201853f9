"""The output folder: its plan, its parts, and the lock of the one driver that works on it.

Names that start with "_" or "." are skipped by whatever reads a folder of Parquet files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError
from nip_runtime.operate.bulk.parts import Counts, read_counts
from nip_runtime.operate.bulk.plan import Plan, Shard
from nip_runtime.support.writing import write_whole

_log = logging.getLogger(__name__)

PLAN: Final = "_plan.json"
SUMMARY: Final = "_summary.json"
_LOCK: Final = ".lock"
_DIGITS: Final = 5


@dataclass(frozen=True)
class OutFolder:
    """A folder that takes the parts of one plan, of ``shards`` shards."""

    path: Path
    plan_digest: str
    shards: int

    @property
    def summary(self) -> Path:
        """There once the run is complete."""
        return self.path / SUMMARY

    def part(self, number: int) -> Path:
        """Where the part of a shard goes."""
        digits = max(_DIGITS, len(str(self.shards - 1)))
        return self.path / f"part-{number:0{digits}d}.parquet"

    def counts(self, shard: Shard) -> Counts | None:
        """What the shard's part holds; None if it is not there, damaged or of another plan."""
        return read_counts(
            self.part(shard.number), plan=self.plan_digest, shard=shard.number, rows=shard.rows
        )

    def sweep(self) -> None:
        """Remove what killed workers left half-written.

        A worker of an earlier driver may still be at it; it then fails to rename its file, to nobody's loss.
        """
        for path in self.path.glob(".part-*.part"):
            path.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path, plan: Plan) -> Iterator[OutFolder]:
    """The folder at ``path`` for this plan and this driver alone, made or taken up again.

    The lock saves two drivers from doing everything twice. Where the system or the file system has none, the
    parts come out the same all the same.

    Raises:
        InputError: if it can't be made or written to, belongs to another plan, holds foreign parts, or
            another driver works on it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError.mismatch(
            expected=f"to make the folder {path}",
            got=error.strerror or "an error",
            fix="name another with --out",
        ) from error
    with _locked(path):
        _settle_plan(path, plan)
        yield OutFolder(path, plan.digest, plan.shard_count)


def _settle_plan(path: Path, plan: Plan) -> None:
    """Store the plan, or make sure that the folder's parts are of this one."""
    target = path / PLAN
    try:
        stored = target.read_bytes() if target.exists() else b""
    except OSError as error:
        raise InputError.mismatch(
            expected=f"to read {target}", got=error.strerror or "an error", fix="check its permissions"
        ) from error
    if stored == plan.content:
        return
    part = next(path.glob("part-*.parquet"), None)
    if part is None:  # nothing was done yet, so nothing can be mixed
        (path / SUMMARY).unlink(missing_ok=True)
        write_whole(target, plan.content)
        return
    try:
        had, have = plan.difference(stored)
    except ValueError as error:
        raise InputError.mismatch(
            expected=f"beside {part} the plan of an earlier run, {PLAN}",
            got="something else" if stored else "none",
            fix="name another folder with --out",
        ) from error
    raise InputError.mismatch(
        expected=f"to go on in {path} with {had}",
        got=have,
        fix="run the command as it was to go on, or name another folder with --out",
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        file = (path / _LOCK).open("ab")
    except OSError as error:
        raise InputError.mismatch(
            expected=f"to write in {path}", got=error.strerror or "an error", fix="name another with --out"
        ) from error
    with file:  # the lock goes with it, and with the process
        try:
            import fcntl
        except ImportError:
            _log.info("this system has no file locks: run one driver at a time")
        else:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError.mismatch(
                    expected=f"no other driver at work in {path}",
                    got="one",
                    fix="wait for it, or name another folder with --out",
                ) from error
            except OSError as error:
                _log.info("no lock on %s (%s): run one driver at a time", path, error.strerror)
        yield
