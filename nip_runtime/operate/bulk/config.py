"""What the user asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError
from nip_runtime.support.arguments import check_whole

SHARD_ROWS: Final = 4096
BATCH: Final = 64
_ADDRESS: Final = re.compile(r"((tcp|tls|ws|wss|ucx)://)?[^/\s]+:\d+")


class EngineName(StrEnum):
    """Who runs the shards."""

    LOCAL = "local"
    """Processes of this machine."""
    DASK = "dask"
    """Workers of a Dask cluster."""


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """One bulk run.

    Args:
        model: defended file. Dask workers open it by the same absolute path.
        inputs: folders (searched recursively), Parquet files, image files, .npy and .npz files.
        out: folder of the parts; made if it is missing.
        engine: who runs the shards.
        scheduler: address of the Dask scheduler, for engine dask alone.
        shard_rows: rows per shard, and so per part.
        batch: rows per run of the model, at most.
        device: as ``DefendedSession`` takes it.
        workers: worker processes of engine local; None for one per core on the CPU, and one elsewhere.
        threads: CPU threads per worker; None for the cores shared out among the local workers, and one per
            thread of a Dask worker.
        column: Parquet column with the images; "" for ``image``, or the only one.
        logits: whether the parts hold the defended logits too.
        require_signature: PEM file of a public key whose owner must have signed the model; needed here only.

    Raises:
        InputError: for a bad field; says which.
    """

    model: Path
    inputs: tuple[str, ...]
    out: Path
    engine: EngineName = EngineName.LOCAL
    scheduler: str | None = None
    shard_rows: int = SHARD_ROWS
    batch: int = BATCH
    device: str = "auto"
    workers: int | None = None
    threads: int | None = None
    column: str = ""
    logits: bool = False
    require_signature: Path | None = None

    def __post_init__(self) -> None:
        for name in ("shard_rows", "batch", "workers", "threads"):
            value = getattr(self, name)
            if value is None and name in ("workers", "threads"):
                continue
            check_whole(name, value)
        if not self.inputs:
            raise InputError.mismatch(
                expected="a folder or file to predict", got="none", fix="name one with --in"
            )
        if self.engine is EngineName.DASK:
            self._check_dask()
        elif self.scheduler is not None:
            raise InputError.mismatch(
                expected="no scheduler for engine local",
                got=self.scheduler,
                fix="add --engine dask, or leave --scheduler out",
            )

    def _check_dask(self) -> None:
        if self.scheduler is None:
            raise InputError.mismatch(
                expected="the address of a Dask scheduler",
                got="none",
                fix="start one with `dask scheduler`, and pass --scheduler tcp://HOST:8786",
            )
        if not _ADDRESS.fullmatch(self.scheduler):
            raise InputError.mismatch(
                expected="an address such as tcp://10.0.0.5:8786",
                got=repr(self.scheduler),
                fix="pass the one that `dask scheduler` prints",
            )
        if self.workers is not None:
            raise InputError.mismatch(
                expected="no number of workers for engine dask",
                got=str(self.workers),
                fix="start so many with `dask worker`, and leave --workers out",
            )
