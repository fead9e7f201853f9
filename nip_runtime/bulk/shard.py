"""Does one shard: a function of its arguments and the files alone, so it may be done again by anybody."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nip_runtime.bulk.answers import answer_rows
from nip_runtime.bulk.folder import OutFolder
from nip_runtime.bulk.parts import Counts, write_part
from nip_runtime.bulk.plan import Shard
from nip_runtime.bulk.rows import Row, read_piece
from nip_runtime.errors import ArtifactError
from nip_runtime.manifest import InputSpec
from nip_runtime.providers import SessionSettings
from nip_runtime.session import DefendedSession
from nip_runtime.wire import Buffer


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all shards of a run share; goes to the workers.

    Attributes:
        folder: where the parts go.
        model: absolute path of the defended file.
        digest: of that file, SHA-256.
        device, threads, batch: for the session; see ``BatchConfig``.
        column: of Parquet files.
        logits: whether they are stored.
    """

    folder: OutFolder
    model: Path
    digest: str
    device: str
    threads: int
    batch: int
    column: str
    logits: bool


def run_shard(job: Job, shard: Shard) -> Counts:
    """Write the part of ``shard``, unless it is there.

    Raises:
        ArtifactError, DeviceError, DependencyError: if this worker can't open the model.
        InputError: if it can't write the part.
    """
    there = job.folder.counts(shard)
    if there is not None:
        return there
    session = _session(job)
    answered = answer_rows(session, _rows(job, shard, session.manifest.input), block=job.batch)
    return write_part(
        job.folder.part(shard.number),
        answered,
        shard=shard,
        plan=job.folder.plan_digest,
        model=job.digest,
        classes=session.manifest.output.classes if job.logits else None,
    )


def digest_of(content: Buffer) -> str:
    """SHA-256 of a model file's bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _rows(job: Job, shard: Shard, spec: InputSpec) -> Iterator[Row]:
    for piece in shard.pieces:
        yield from read_piece(piece, spec, column=job.column, block=job.batch)


_lock = threading.Lock()
_sessions: dict[tuple[Path, str, str, int, int], DefendedSession] = {}
"""One session per process, opened once; a Dask worker lives through many runs."""


def _session(job: Job) -> DefendedSession:
    key = (job.model, job.digest, job.device, job.threads, job.batch)
    with _lock:
        if key not in _sessions:
            found = _file_digest(job.model)
            if found != job.digest:
                raise ArtifactError.mismatch(
                    expected=f"the model {job.digest} at {job.model}",
                    got=found,
                    fix="copy the same file to every machine that predicts",
                )
            _sessions.clear()
            _sessions[key] = DefendedSession(
                job.model,
                device=job.device,
                settings=SessionSettings(threads=job.threads),
                max_batch=job.batch,
            )
        return _sessions[key]


def _file_digest(path: Path) -> str:
    try:
        return digest_of(path.read_bytes())
    except OSError as error:
        raise ArtifactError.mismatch(
            expected=f"the model at {path}",
            got=error.strerror or "an error",
            fix="put it at the same path on every machine that predicts",
        ) from error
