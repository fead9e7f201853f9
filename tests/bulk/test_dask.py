"""Engine dask: a real scheduler and real workers on the loopback interface."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.hardening import bulk_runs as runs
from tests.bulk.conftest import OPTIONS, ROWS, SHARDS


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[runs.Cluster]:
    with runs.cluster(tmp_path / "cluster", workers=2) as cluster:
        yield cluster


def assert_exact(out: Path, wanted: pa.Table) -> None:
    found = runs.compare(runs.read_rows(out), wanted)
    assert found == runs.Compared(rows=ROWS, lost=0, duplicated=0, different=0)


@pytest.mark.slow
def test_killed_workers_and_drivers_lose_nothing_and_a_lost_scheduler_neither(
    cluster: runs.Cluster, inputs: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    out, rng = tmp_path / "out", random.Random(6)
    options = (*OPTIONS, *cluster.options)
    driver = runs.start(out, inputs, options=options)
    assert driver.wait_for_parts(4)
    driver.kill()
    driver = runs.start(out, inputs, options=options)
    assert runs.kill_some(driver, rng, kills=2, shards=SHARDS, of=cluster) > 0
    code, output = driver.finish()
    assert code == 1
    assert "are there already" in output
    assert_exact(out, wanted)

    again = tmp_path / "again"
    driver = runs.start(again, inputs, options=options)
    assert driver.wait_for_parts(4)
    cluster.scheduler.kill()
    code, output = driver.finish()
    assert code == 2, output
    assert f"expected the Dask scheduler at {cluster.address} to stay" in output.splitlines()[-1]
    assert driver.parts() < SHARDS
    # The folder belongs to nobody's engine.
    assert runs.run(again, inputs, options=(*OPTIONS, "--workers", "2"))[0] == 1
    assert_exact(again, wanted)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--engine", "dask"), "expected the address of a Dask scheduler, got none; start one with"),
        (("--engine", "dask", "--scheduler", "foo://x"), "expected an address such as tcp://10.0.0.5:8786"),
        (("--scheduler", "tcp://127.0.0.1:1"), "expected no scheduler for engine local"),
        (
            ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"),
            "expected no number of workers for engine dask, got 2; start so many with",
        ),
    ],
)
def test_wrong_usage_is_said(inputs: Path, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    code, output = runs.run(tmp_path / "out", inputs, options=options)
    assert code == 2
    assert says in output
    assert not (tmp_path / "out").exists()
