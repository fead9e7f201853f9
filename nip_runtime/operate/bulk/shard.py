"""Does one shard: a function of its arguments and the files alone, so it may be done again by anybody."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import LIMITS
from nip_runtime.file.artifact import check_content
from nip_runtime.file.container.wholefile import Wanted, read_whole
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.manifest import InputSpec
from nip_runtime.operate.bulk.answers import answer_rows
from nip_runtime.operate.bulk.folder import OutFolder
from nip_runtime.operate.bulk.parts import Counts, write_part
from nip_runtime.operate.bulk.plan import Shard
from nip_runtime.operate.bulk.rows import Row, read_piece
from nip_runtime.run.providers import SessionSettings
from nip_runtime.session import DefendedSession


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


_MODEL: Final = Wanted(what="the model", fix="put it at the same path on every machine that predicts")
_lock = threading.Lock()
_sessions: dict[tuple[Path, str, str, int, int], DefendedSession] = {}
"""One session per process, opened once; a Dask worker lives through many runs."""


def _session(job: Job) -> DefendedSession:
    key = (job.model, job.digest, job.device, job.threads, job.batch)
    with _lock:
        if key not in _sessions:
            _sessions.clear()
            _sessions[key] = _opened(job)
        return _sessions[key]


def _opened(job: Job) -> DefendedSession:
    content = read_whole(job.model, LIMITS.file_bytes, _MODEL)
    found = digest_of(content)
    if found != job.digest:
        raise _another(job, found)
    session = DefendedSession(
        job.model,
        device=job.device,
        settings=SessionSettings(threads=job.threads),
        max_batch=job.batch,
    )
    # The session read the file once more. Its manifest holds digests of all that runs, and they were checked.
    if session.manifest != check_content(content, job.model).manifest:
        raise _another(job, "one that changed meanwhile")
    return session


def _another(job: Job, got: str) -> ArtifactError:
    return ArtifactError.mismatch(
        expected=f"the model {job.digest} at {job.model}",
        got=got,
        fix="copy the same file to every machine that predicts",
    )
