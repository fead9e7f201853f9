"""Kills workers and drivers of `nip batch` at random moments, and compares what comes out row by row.

Everything is real: processes get SIGKILL, the Dask cluster is a scheduler and workers on the loopback
interface, and a killed driver's command is started again until it ends by itself. The yardstick is a run that
nobody disturbed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.hardening import bulk_runs as runs
from benchmarks.hardening.record import Count, Record, command_line, finish

COMMAND: Final = "python -m benchmarks.hardening.bulk"
SHARD_ROWS: Final = 250
WORKERS: Final = 2
_SOME_ERRORS: Final = 1
"""Exit code of a complete run: the inputs hold unreadable rows on purpose."""


@dataclass(frozen=True)
class Trial:
    """One run that was disturbed.

    Attributes:
        engine: local or dask.
        worker_kills, driver_kills: that hit while it worked.
        shards_lost: parts missing at the end.
        compared: its rows beside those of the undisturbed run.
    """

    engine: str
    worker_kills: int
    driver_kills: int
    shards_lost: int
    compared: runs.Compared


class Trials:
    """Disturbed runs over the same inputs."""

    def __init__(self, folder: Path, *, rows: int, seed: int) -> None:
        self.folder = folder
        self._rng = random.Random(seed)
        self._inputs = runs.write_inputs(folder / "in", rows=rows, seed=seed)
        self._options = ("--shard-rows", str(SHARD_ROWS), "--logits")
        calm = folder / "calm"
        _finish(runs.start(calm, self._inputs, options=(*self._options, "--workers", "1")))
        self._wanted = runs.read_rows(calm)
        self._shards = len(list(calm.glob("part-*.parquet")))
        self._count = 0

    @property
    def shards(self) -> int:
        return self._shards

    def run(self, *, worker_kills: int, driver_kills: int, cluster: runs.Cluster | None) -> Trial:
        """Kill so many while a run works, start it again as often as its driver was killed, and compare."""
        self._count += 1
        out = self.folder / f"out-{self._count}"
        options = (*self._options, *(("--workers", str(WORKERS)) if cluster is None else cluster.options))
        rng, killed, drivers = self._rng, 0, 0
        for parts in sorted(rng.randrange(self._shards - 2) for _ in range(driver_kills)):
            driver = runs.start(out, self._inputs, options=options)
            if not driver.wait_for_parts(parts):
                raise RuntimeError(f"the driver ended before it could be killed: {driver.finish()[1]}")
            time.sleep(rng.uniform(0, 0.15))
            drivers += driver.process.poll() is None
            driver.kill()
        driver = runs.start(out, self._inputs, options=options)
        killed = runs.kill_some(driver, rng, kills=worker_kills, shards=self._shards, of=cluster)
        _finish(driver)
        compared = runs.compare(runs.read_rows(out), self._wanted)
        lost = self._shards - len(list(out.glob("part-*.parquet")))
        return Trial("local" if cluster is None else "dask", killed, drivers, lost, compared)


def _finish(driver: runs.Driver) -> None:
    code, output = driver.finish()
    if code != _SOME_ERRORS:
        raise RuntimeError(f"nip batch ended with {code}:\n{output}")


@contextmanager
def _cluster(trials: Trials, engine: str, number: int) -> Iterator[runs.Cluster | None]:
    """A fresh cluster for every trial, for one killed too often stays away."""
    if engine == "local":
        yield None
        return
    with runs.cluster(trials.folder / f"cluster-{number}", workers=WORKERS) as cluster:
        yield cluster


def measure(folder: Path, *, rows: int, trials: int, seed: int) -> tuple[list[Trial], dict[str, Any]]:
    """Every engine, ``trials`` times each: workers killed, drivers killed, and both."""
    among = Trials(folder, rows=rows, seed=seed)
    done: list[Trial] = []
    for number in range(trials):
        for engine in ("local", "dask"):
            for worker_kills, driver_kills in ((3, 0), (0, 3), (2, 2)):
                with _cluster(among, engine, len(done)) as cluster:
                    trial = among.run(worker_kills=worker_kills, driver_kills=driver_kills, cluster=cluster)
                done.append(trial)
                print(f"round {number + 1} of {trials}: {trial}", file=sys.stderr, flush=True)
    return done, {
        "rows": rows,
        "shard_rows": SHARD_ROWS,
        "shards": among.shards,
        "workers": WORKERS,
        "seed": seed,
    }


def record(trials: list[Trial], details: dict[str, Any], command: str) -> Record:
    """The counts."""
    counts = []
    for engine in ("local", "dask"):
        those = [trial for trial in trials if trial.engine == engine]
        shards = len(those) * details["shards"]
        rows = sum(trial.compared.rows for trial in those)
        for what, value in (
            ("workers killed at work", sum(trial.worker_kills for trial in those)),
            ("drivers killed at work and started again", sum(trial.driver_kills for trial in those)),
        ):
            counts.append(Count(what=f"{engine}: {what}", value=value))
        for what, value, of in (
            ("shards lost", sum(trial.shards_lost for trial in those), shards),
            ("rows lost", sum(trial.compared.lost for trial in those), rows),
            ("rows duplicated", sum(trial.compared.duplicated for trial in those), rows),
            (
                "rows that differ from the undisturbed run",
                sum(trial.compared.different for trial in those),
                rows,
            ),
        ):
            counts.append(
                Count(what=f"{engine}: {what}", value=value, of=of, wanted="0", met=value == 0 and of > 0)
            )
    return Record(name="bulk", command=command, counts=tuple(counts), details=details)


def main(argv: list[str] | None = None) -> int:
    """Run the trials; 1 if a row was lost, duplicated or changed."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of five")
    parser.add_argument("--rounds", type=int, default=5, help="trials of each kind (default 5)")
    parser.add_argument("--rows", type=int, default=12000, help="rows of a run (default 12000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/hardening/bulk.json")
    args = parser.parse_args(argv)
    rounds = 1 if args.quick else args.rounds
    with tempfile.TemporaryDirectory() as folder:
        trials, details = measure(Path(folder), rows=args.rows, trials=rounds, seed=args.seed)
    command = command_line("bulk", argv)
    found = record(trials, details | {"rounds": rounds}, command)
    return finish(found, saves=args.save)


if __name__ == "__main__":
    raise SystemExit(main())
