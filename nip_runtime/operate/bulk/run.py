"""A whole bulk run: plan, folder, shards, summary."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from nip_runtime import __version__
from nip_runtime.errors import InputError
from nip_runtime.file.artifact import opened
from nip_runtime.inputs.images import suffixes_of
from nip_runtime.operate.bulk.arrow import parquet
from nip_runtime.operate.bulk.config import BatchConfig
from nip_runtime.operate.bulk.drive import Failure, Watcher, drive
from nip_runtime.operate.bulk.engines import running
from nip_runtime.operate.bulk.folder import OutFolder, claimed
from nip_runtime.operate.bulk.parts import Counts
from nip_runtime.operate.bulk.plan import Plan, Settings, Shard
from nip_runtime.operate.bulk.shard import Job, digest_of
from nip_runtime.operate.bulk.sources import find_sources
from nip_runtime.support.writing import write_whole

_APPEARS_WITHIN_S: Final = 5.0
"""A network file system may show another machine's file late."""
_MOST_SHARDS: Final = 1_000_000
"""Files in one folder. A few damaged bytes may state any number of rows."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a run.

    Attributes:
        rows, flagged, errors, first_error: of all parts that are there; see ``Counts``.
        shards: in all.
        there_before: shards whose parts were there when this run began.
        failures: shards that were given up; their parts are missing.
        seconds: that this run took.
    """

    rows: int
    flagged: int
    errors: int
    first_error: str
    shards: int
    there_before: int
    failures: tuple[Failure, ...]
    seconds: float


class PlanWatcher(Watcher, Protocol):
    """Is told the plan too."""

    def planned(self, plan: Plan, there: Sequence[Counts]) -> None:
        """Before the first shard: the plan, and the parts that are there already."""


def run_batch(config: BatchConfig, watcher: PlanWatcher) -> Summary:
    """Predict all inputs into Parquet parts in ``config.out``; go on where an earlier run stopped.

    Raises:
        NipError: for wrong settings, models, folders and clusters. Parts that were written stay, and the same
            run goes on from them.
    """
    began = time.monotonic()
    parquet()  # missing packages are noticed before any work
    out = config.out.absolute()
    plan = make_plan(config, out)
    with claimed(out, plan) as folder:
        folder.sweep()
        found = {shard.number: folder.counts(shard) for shard in plan.shards()}
        there = [counts for counts in found.values() if counts is not None]
        watcher.planned(plan, there)
        failures: list[Failure] = []
        if len(there) < plan.shard_count:
            folder.summary.unlink(missing_ok=True)
            missing = [shard for shard in plan.shards() if found[shard.number] is None]
            try:
                failures = _drive(config, plan, folder, missing, watcher)
            finally:
                folder.sweep()  # a worker that is told to end has no time for the file it was opening
        summary = _summary(folder, plan, len(there), failures, time.monotonic() - began)
        # A driver may have been killed after its last part.
        if not failures and not folder.summary.exists():
            write_whole(folder.summary, _as_json(summary, plan))
        return summary


def _drive(
    config: BatchConfig, plan: Plan, folder: OutFolder, missing: Sequence[Shard], watcher: Watcher
) -> list[Failure]:
    with running(config) as engine:
        job = Job(
            folder=folder,
            model=config.model.absolute(),
            digest=plan.settings.model,
            device=config.device,
            threads=engine.threads,
            batch=config.batch,
            column=config.column,
            logits=config.logits,
        )
        return drive(engine, job, missing, watcher, lambda shard: _confirm(folder, shard))


def make_plan(config: BatchConfig, out: Path) -> Plan:
    """Look at model and inputs, and lay out the run.

    Raises:
        ArtifactError: if the model is no defended file, or not signed as required.
        InputError: if there is nothing to predict, or too much for so small shards.
    """
    with opened(config.model, require_signature=config.require_signature) as (artifact, content):
        # Workers open a file of this digest or none, so what is checked here holds for them too.
        digest = digest_of(content)
        suffixes = suffixes_of(artifact.manifest.input)
    settings = Settings(
        model=digest,
        nip_version=__version__,
        device=config.device,
        batch=config.batch,
        shard_rows=config.shard_rows,
        column=config.column,
        logits=config.logits,
    )
    plan = Plan(settings, find_sources(config.inputs, suffixes=suffixes, column=config.column, out=out))
    if plan.shard_count > _MOST_SHARDS:
        largest = max(plan.sources, key=lambda source: source.rows)
        raise InputError.mismatch(
            expected=f"at most {_MOST_SHARDS} shards",
            got=f"{plan.shard_count}, with {largest.rows} rows in {largest.path} alone",
            fix="raise --shard-rows, or leave out a file that states more rows than it holds",
        )
    return plan


def _confirm(folder: OutFolder, shard: Shard) -> None:
    until = time.monotonic() + _APPEARS_WITHIN_S
    while folder.counts(shard) is None:
        if time.monotonic() > until:
            raise InputError.mismatch(
                expected=f"the part that a worker wrote to {folder.part(shard.number)}",
                got="none",
                fix="put --out on a file system that all machines share",
            )
        time.sleep(0.1)


def _summary(folder: OutFolder, plan: Plan, there: int, failures: list[Failure], seconds: float) -> Summary:
    """Counted from the parts themselves, not from what workers said."""
    counts = [counts for counts in map(folder.counts, plan.shards()) if counts is not None]
    given_up = sum(failure.shard.rows for failure in failures)
    rows = sum(part.rows for part in counts)
    if rows + given_up != plan.rows:
        raise InputError.mismatch(
            expected=f"{plan.rows - given_up} rows in {folder.path}",
            got=str(rows),
            fix="something removed parts meanwhile: run the same command again",
        )
    return Summary(
        rows=rows,
        flagged=sum(part.flagged for part in counts),
        errors=sum(part.errors for part in counts),
        first_error=next((part.first_error for part in counts if part.errors), ""),
        shards=plan.shard_count,
        there_before=there,
        failures=tuple(failures),
        seconds=seconds,
    )


def _as_json(summary: Summary, plan: Plan) -> bytes:
    content = asdict(summary) | {
        "model": plan.settings.model,
        "nip_version": __version__,
        "plan": plan.digest,
    }
    del content["failures"]  # none, or this would not be written
    return (json.dumps(content, indent=1) + "\n").encode()
