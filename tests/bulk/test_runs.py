"""Whole runs of the command, disturbed in every way: real processes, real signals."""

from __future__ import annotations

import fcntl
import io
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from benchmarks.hardening import bulk_runs as runs
from nip_runtime.cli.batch_progress import BatchProgress
from nip_runtime.cli.main import main
from nip_runtime.errors import DependencyError, DeviceError
from nip_runtime.operate.bulk.config import BatchConfig
from nip_runtime.operate.bulk.run import Summary, run_batch
from tests.bulk import made
from tests.bulk.conftest import OPTIONS, ROWS, SHARDS

LOCAL = (*OPTIONS, "--workers", "2")


def assert_exact(out: Path, wanted: pa.Table) -> None:
    found = runs.compare(runs.read_rows(out), wanted)
    assert found == runs.Compared(rows=ROWS, lost=0, duplicated=0, different=0)
    assert (out / "_summary.json").exists()
    assert not list(out.glob(".part-*"))


def test_two_workers_give_what_one_gives(inputs: Path, calm: Path, wanted: pa.Table, tmp_path: Path) -> None:
    code, output = runs.run(tmp_path / "out", inputs, options=LOCAL)
    assert code == 1
    assert f"{ROWS} rows in {SHARDS} parts" in output
    assert "4 with an error" in output
    assert f"the first error is that of {inputs}/0003.png[0]: expected an image" in output
    assert_exact(tmp_path / "out", wanted)
    for part in calm.glob("part-*"):
        assert part.read_bytes() == (tmp_path / "out" / part.name).read_bytes()


def test_killed_workers_and_a_killed_driver_lose_nothing(
    inputs: Path, wanted: pa.Table, tmp_path: Path
) -> None:
    out, rng = tmp_path / "out", random.Random(5)
    driver = runs.start(out, inputs, options=LOCAL)
    assert driver.wait_for_parts(4)
    orphans = driver.workers()
    driver.kill()
    assert driver.parts() < SHARDS
    assert len(orphans) == 2
    _, alive = psutil.wait_procs(orphans, timeout=20)
    assert not alive
    driver = runs.start(out, inputs, options=LOCAL)
    assert runs.kill_some(driver, rng, kills=3, shards=SHARDS) > 0
    code, output = driver.finish()
    assert code == 1
    assert "are there already" in output
    assert_exact(out, wanted)


def test_ctrl_c_says_how_to_go_on(inputs: Path, wanted: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = runs.start(out, inputs, options=LOCAL)
    assert driver.wait_for_parts(3)
    workers = driver.workers()
    assert len(workers) == 2
    for worker in workers:  # a terminal sends it to all, and they leave it to the driver
        os.kill(worker.pid, signal.SIGINT)
    assert driver.wait_for_parts(driver.parts() + 3)
    assert {worker.pid for worker in driver.workers()} == {worker.pid for worker in workers}
    os.kill(driver.process.pid, signal.SIGINT)
    code, output = driver.finish()
    assert code == 130
    assert f"of {SHARDS} shards done; run the same command again to go on" in output
    assert "Traceback" not in output
    assert not any(worker.is_running() for worker in workers)
    assert not list(out.glob(".part-*"))
    assert not (out / "_summary.json").exists()
    assert runs.run(out, inputs, options=LOCAL)[0] == 1
    assert_exact(out, wanted)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with 100 KiB of room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(
    inputs: Path, wanted: pa.Table, small_disk: Path
) -> None:
    out = small_disk / "out"
    code, output = runs.run(out, inputs, options=LOCAL)
    assert code == 2
    assert "No space left on device" in output.splitlines()[-1]
    assert 0 < len(list(out.glob("part-*"))) < SHARDS
    assert not list(out.glob(".part-*"))
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    assert runs.run(out, inputs, options=LOCAL)[0] == 1
    assert_exact(out, wanted)


def in_process(out: Path, *inputs: Path, shard_rows: int = 100, logits: bool = True) -> Summary:
    config = BatchConfig(
        model=runs.MODEL,
        inputs=tuple(map(str, inputs)),
        out=out,
        shard_rows=shard_rows,
        logits=logits,
        workers=2,
        device="auto",
    )
    return run_batch(config, BatchProgress(io.StringIO()))


def test_a_shard_that_kills_its_workers_is_named_and_the_rest_goes_on(
    inputs: Path, wanted: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("nip_runtime.operate.bulk.drive.run_shard", made.poisoned)
    summary = in_process(out, inputs)
    (failure,) = summary.failures
    assert str(failure).startswith(f"shard {made.POISON} ({inputs}/")
    assert str(failure).endswith(
        "failed 4 times, at last: WorkerLostError: its worker ended with signal SIGKILL"
    )
    assert summary.rows == ROWS - 100
    assert not (out / "_summary.json").exists()
    monkeypatch.undo()
    summary = in_process(out, inputs)
    assert (summary.rows, summary.there_before, summary.failures) == (ROWS, SHARDS - 1, ())
    assert_exact(out, wanted)


def test_a_shard_that_fails_is_named_and_what_fails_all_ends_the_run(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("nip_runtime.operate.bulk.drive.run_shard", made.hopeless)
    with pytest.raises(DeviceError, match="20 failures and no success, the last: ZeroDivisionError"):
        in_process(out, inputs)
    monkeypatch.setattr("nip_runtime.operate.bulk.drive.run_shard", made.lacking)
    with pytest.raises(DependencyError, match=r"nip-runtime\[scale\]"):
        in_process(out, inputs)
    monkeypatch.setattr("nip_runtime.operate.bulk.drive.run_shard", made.failing)
    (failure,) = in_process(out, inputs).failures
    assert str(failure).endswith("failed 4 times, at last: ZeroDivisionError: of no use")


@pytest.fixture
def done(calm: Path, tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return Path(shutil.copytree(calm, tmp_path / "out"))


def test_a_finished_run_is_not_done_again(done: Path, inputs: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}
    (done / "_summary.json").unlink()
    code, output = runs.run(done, inputs, options=LOCAL)
    assert code == 1
    assert f"{SHARDS} are there already" in output
    assert (done / "_summary.json").exists()
    del before["_summary.json"]
    assert all((done / name).stat().st_mtime_ns == touched for name, touched in before.items())


def refused(
    capsys: pytest.CaptureFixture[str],
    out: Path,
    *inputs: Path,
    options: tuple[str, ...] = OPTIONS,
    model: Path = runs.MODEL,
) -> str:
    before = sorted(path.name for path in out.iterdir())
    assert main(["batch", str(model), "--in", *map(str, inputs), "--out", str(out), *options]) == 2
    assert sorted(path.name for path in out.iterdir()) == before
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--shard-rows", "99", "--logits"), "with shard rows 100, got shard rows 99; run the command as it"),
        (("--shard-rows", "100"), "with logits True, got logits False"),
        ((*OPTIONS, "--device", "cpu"), "with device 'auto', got device 'cpu'"),
    ],
)
def test_other_settings_are_refused(
    done: Path, inputs: Path, options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(capsys, done, inputs, options=options)


def test_another_model_and_other_inputs_are_refused(
    done: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = runs.MODEL.with_name("detect.onnx")
    assert "with model 'sha256:" in refused(capsys, done, inputs, model=other)
    np.save(tmp_path / "more.npy", np.zeros((1, 28, 28), np.uint8))
    assert f"without {tmp_path}/more.npy" in refused(capsys, done, inputs, tmp_path / "more.npy")


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_foreign_parts_are_never_mixed_with(
    done: Path, inputs: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (done / "_plan.json").unlink()
    if content is not None:
        (done / "_plan.json").write_bytes(content)
    assert "the plan of an earlier run, _plan.json, got" in refused(capsys, done, inputs)


def test_a_plan_that_was_never_begun_binds_nobody(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "_plan.json").write_text("{")
    assert in_process(out, inputs, logits=False).rows == ROWS


def test_a_second_driver_is_turned_away(done: Path, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (done / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "no other driver at work" in refused(capsys, done, inputs)


def test_leftovers_of_killed_workers_are_swept_away(done: Path, inputs: Path) -> None:
    (done / ".part-00003.parquet.x1.part").write_bytes(b"half")
    (done / "part-00003.parquet").unlink()
    code, _ = runs.run(done, inputs, options=LOCAL)
    assert code == 1
    assert not list(done.glob(".part-*"))
