"""Real `nip batch` runs for the checks of bulk prediction: inputs, drivers, clusters, kills, comparison."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from nip_runtime.support.dependencies import load

ROOT: Final = Path(__file__).resolve().parent.parent.parent
MODEL: Final = ROOT / "tests" / "goldens" / "guarded.onnx"
SIDE: Final = 28
_PATIENCE_S: Final = 120.0


def write_inputs(folder: Path, *, rows: int, seed: int = 0) -> Path:
    """A folder with ``rows`` rows: PNG files, arrays, Parquet of image bytes, and among them broken ones."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images = rng.integers(0, 256, (rows, SIDE, SIDE), dtype=np.uint8)
    files, in_parquet = min(rows // 8, 200), rows // 4
    for index, image in enumerate(images[:files]):
        (folder / f"{index:04d}.png").write_bytes(_png(image))
    (folder / "0003.png").write_bytes(b"no image")
    encoded: list[bytes | None] = [_png(image) for image in images[files : files + in_parquet]]
    encoded[7], encoded[11] = None, b"no image either"
    pq.write_table(pa.table({"image": encoded}), folder / "some.parquet", row_group_size=500)
    rest = images[files + in_parquet :]
    floats = rest[: len(rest) // 2, None].astype(np.float32) / 255
    floats[5, 0, 3, 3] = np.nan
    np.save(folder / "floats.npy", floats)
    np.save(folder / "pixels.npy", rest[len(rest) // 2 :])
    return folder


def _png(image: np.ndarray[Any, Any]) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


@dataclass
class Driver:
    """One `nip batch` process in a process group of its own, and its workers."""

    process: subprocess.Popen[str]
    out: Path

    def workers(self) -> list[psutil.Process]:
        """Worker processes of engine local."""
        return _spawned(self.process.pid)

    def parts(self) -> int:
        """Parts written so far."""
        return len(list(self.out.glob("part-*.parquet")))

    def wait_for_parts(self, number: int) -> bool:
        """Wait until so many parts are there; False if the driver ended first."""
        until = time.monotonic() + _PATIENCE_S
        while self.parts() < number:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > until:
                raise TimeoutError(f"{self.parts()} of {number} parts within {_PATIENCE_S:g} s")
            time.sleep(0.01)
        return self.process.poll() is None

    def kill(self) -> None:
        """As the kernel does when memory is short; the workers are left alone."""
        self.process.kill()
        self.finish()

    def finish(self) -> tuple[int, str]:
        """Exit code and what it printed."""
        output, _ = self.process.communicate(timeout=_PATIENCE_S)
        return self.process.returncode, output


def start(out: Path, *inputs: Path, options: Sequence[str] = (), model: Path = MODEL) -> Driver:
    """Start `nip batch` and return at once."""
    command = [sys.executable, "-m", "nip_runtime.cli.main", "batch", str(model)]
    command += ["--in", *map(str, inputs), "--out", str(out), *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
        # A shell has what runs in its background ignore Ctrl-C, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    return Driver(process, out)


def run(out: Path, *inputs: Path, options: Sequence[str] = (), model: Path = MODEL) -> tuple[int, str]:
    """Run `nip batch` to its end; exit code and what it printed."""
    return start(out, *inputs, options=options, model=model).finish()


@dataclass
class Cluster:
    """A Dask scheduler and its workers on the loopback interface, each a process of its own."""

    scheduler: subprocess.Popen[bytes]
    nannies: list[subprocess.Popen[bytes]]
    address: str

    @property
    def options(self) -> list[str]:
        """That make `nip batch` use it."""
        return ["--engine", "dask", "--scheduler", self.address]

    def wait(self, workers: int) -> None:
        """Wait until so many workers have joined."""
        distributed: Any = load("distributed")
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=_PATIENCE_S)

    def workers(self) -> list[psutil.Process]:
        """The processes that do the work; their nannies start new ones when they die."""
        return [worker for nanny in self.nannies for worker in _spawned(nanny.pid)]


@contextmanager
def cluster(folder: Path, *, workers: int) -> Iterator[Cluster]:
    """Start a cluster and end it, whatever happened to it."""
    folder.mkdir(parents=True, exist_ok=True)
    found = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "log").open("wb") as log:

        def launch(*arguments: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [*dask, *arguments, "--no-dashboard"],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            started.append(process)
            return process

        try:
            scheduler = launch(
                "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(found)
            )
            _wait_for(found, scheduler)
            address = str(json.loads(found.read_text())["address"])
            nannies = [
                launch(
                    *("worker", address, "--host", "127.0.0.1", "--nthreads", "1"),
                    *("--memory-limit", "0", "--local-directory", str(folder / f"worker-{place}")),
                )
                for place in range(workers)
            ]
            yield Cluster(scheduler, nannies, address)
        finally:
            for process in reversed(started):
                _end(process)


def kill_some(
    driver: Driver, rng: random.Random, *, kills: int, shards: int, of: Cluster | None = None
) -> int:
    """SIGKILL workers at random moments while the driver runs; how many really died in the midst of it."""
    killed = 0
    first = min(driver.parts(), shards - 1)
    for parts in sorted(rng.randrange(first, shards) for _ in range(kills)):
        driver.wait_for_parts(parts)
        # Those that were killed before must be back, or the same victim would be counted twice.
        while driver.process.poll() is None and not (victims := _working(driver, of)):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.15))
        if driver.process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                rng.choice(victims).kill()
                killed += 1
    return killed


def _working(driver: Driver, of: Cluster | None) -> list[psutil.Process]:
    found = driver.workers() if of is None else of.workers()
    alive = []
    for worker in found:
        with suppress(psutil.NoSuchProcess):
            if worker.status() != psutil.STATUS_ZOMBIE:
                alive.append(worker)
    return alive


@dataclass(frozen=True)
class Compared:
    """What a run's rows are beside an undisturbed run's.

    Attributes:
        rows: compared.
        lost: rows of the undisturbed run that are missing.
        duplicated: rows that are there more than once.
        different: rows with another value in any column, bit for bit, or in another place.
    """

    rows: int
    lost: int
    duplicated: int
    different: int

    @property
    def is_exact(self) -> bool:
        return self.rows > 0 and not (self.lost or self.duplicated or self.different)


def read_rows(out: Path) -> Any:
    """All parts in order, as one table."""
    return pa.concat_tables(
        pq.read_table(path, page_checksum_verification=True).replace_schema_metadata()
        for path in sorted(out.glob("part-*.parquet"))
    )


def compare(found: Any, wanted: Any) -> Compared:
    """Two tables, row by row."""
    keys, wanted_keys = _keys(found), _keys(wanted)
    counted = Counter(keys)
    extra = sum(count - 1 for count in counted.values())
    rows, wanted_rows = _rows(found), _rows(wanted)
    pairs = zip(rows, wanted_rows, strict=False)
    return Compared(
        rows=len(rows),
        lost=len(set(wanted_keys) - counted.keys()),
        duplicated=extra,
        different=sum(one != other for one, other in pairs) + abs(len(rows) - len(wanted_rows)),
    )


def _keys(table: Any) -> list[tuple[str, int]]:
    return list(zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True))


def _rows(table: Any) -> list[tuple[Any, ...]]:
    columns = []
    for column in table.columns:
        values = column.combine_chunks()
        if pa.types.is_fixed_size_list(values.type):  # as bits, so that no NaN and no −0.0 slips through
            width = values.type.list_size
            flat = values.values.to_numpy(zero_copy_only=False).reshape(-1, width)[values.offset :]
            there = values.is_valid().to_pylist()
            columns.append([row.tobytes() if valid else None for row, valid in zip(flat, there, strict=True)])
        else:
            columns.append(values.to_pylist())
    return list(zip(*columns, strict=True))


def _spawned(pid: int) -> list[psutil.Process]:
    """Children of a process that run Python's multiprocessing, without its resource tracker."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if any("spawn_main" in argument for argument in child.cmdline()):
                    found.append(child)
    return found


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not (path.exists() and path.stat().st_size):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the Dask scheduler did not start; see the log beside {path}")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    # SIGTERM lets a nanny take its worker along.
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()
