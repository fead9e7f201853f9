"""One shard, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.hardening import bulk_runs as runs
from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.inputs.images import map_array
from nip_runtime.operate.bulk.config import BatchConfig
from nip_runtime.operate.bulk.folder import OutFolder
from nip_runtime.operate.bulk.plan import Plan
from nip_runtime.operate.bulk.run import make_plan
from nip_runtime.operate.bulk.shard import Job, run_shard
from nip_runtime.session import DefendedSession


def planned(tmp_path: Path, *inputs: Path, shard_rows: int = 8, model: Path = runs.MODEL) -> tuple[Job, Plan]:
    out = tmp_path / "out"
    out.mkdir()
    config = BatchConfig(
        model=model, inputs=tuple(map(str, inputs)), out=out, shard_rows=shard_rows, batch=3, device="cpu"
    )
    plan = make_plan(config, out)
    job = Job(
        folder=OutFolder(out, plan.digest, plan.shard_count),
        model=model,
        digest=plan.settings.model,
        device="cpu",
        threads=1,
        batch=3,
        column="",
        logits=False,
    )
    return job, plan


def results(job: Job, plan: Plan) -> Sequence[dict[str, Any]]:
    for shard in plan.shards():
        run_shard(job, shard)
    rows: list[dict[str, Any]] = runs.read_rows(job.folder.path).to_pylist()
    return rows


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    path = tmp_path / "pixels.npy"
    np.save(path, np.random.default_rng(3).integers(0, 256, (20, 28, 28), dtype=np.uint8))
    return path


def test_equal_shards_have_equal_bytes_and_a_part_that_is_there_is_left_alone(
    pixels: Path, tmp_path: Path
) -> None:
    job, plan = planned(tmp_path, pixels)
    shard = next(plan.shards())
    part = job.folder.part(0)
    first = run_shard(job, shard)
    assert first.fresh
    content, touched = part.read_bytes(), part.stat().st_mtime_ns
    assert run_shard(job, shard) == replace(first, fresh=False)
    assert part.stat().st_mtime_ns == touched
    part.unlink()
    assert run_shard(job, shard) == first
    assert part.read_bytes() == content


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "other plan", "other shard"])
def test_a_part_that_is_not_whole_or_not_ours_is_done_again(
    pixels: Path, tmp_path: Path, damage: str
) -> None:
    job, plan = planned(tmp_path, pixels)
    first, second, _ = plan.shards()
    run_shard(job, first)
    part = job.folder.part(0)
    content = part.read_bytes()
    if damage == "cut":
        part.write_bytes(content[:-20])
    elif damage == "empty":
        part.write_bytes(b"")
    elif damage == "foreign":
        pq.write_table(pa.table({"x": [1] * 8}), part)
    elif damage == "other plan":
        other = replace(job, folder=replace(job.folder, plan_digest="sha256:1"))
        part.unlink()
        run_shard(other, first)
        assert part.read_bytes() != content
    else:
        run_shard(job, second)
        shutil.copy(job.folder.part(1), part)
    assert run_shard(job, first).fresh
    assert part.read_bytes() == content


def test_a_model_that_is_another_one_here_is_refused(pixels: Path, tmp_path: Path) -> None:
    model = shutil.copy(runs.MODEL, tmp_path / "m.onnx")
    job, plan = planned(tmp_path, pixels, model=Path(model))
    shutil.copy(runs.MODEL.with_name("detect.onnx"), model)
    with pytest.raises(ArtifactError, match=f"expected the model {job.digest} at .*, got sha256:"):
        run_shard(job, next(plan.shards()))
    Path(model).unlink()
    with pytest.raises(ArtifactError, match=r"the model at .*, got nothing there; put it at the same path"):
        run_shard(job, next(plan.shards()))


def test_a_model_that_is_exchanged_while_it_is_opened_answers_nothing(
    pixels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its digest was compared, and so after any signature was."""
    model = Path(shutil.copy(runs.MODEL, tmp_path / "m.onnx"))
    job, plan = planned(tmp_path, pixels, model=model)

    def exchanged(path: Path, **options: Any) -> DefendedSession:
        shutil.copy(runs.MODEL.with_name("detect.onnx"), path)
        return DefendedSession(path, **options)

    monkeypatch.setattr("nip_runtime.operate.bulk.shard.DefendedSession", exchanged)
    for _ in range(2):  # nor is it kept for the next shard
        with pytest.raises(ArtifactError, match=f"expected the model {job.digest} at .*, got "):
            run_shard(job, next(plan.shards()))
        assert list(job.folder.path.iterdir()) == []
        shutil.copy(runs.MODEL, model)


def test_a_folder_that_is_gone_is_an_error(pixels: Path, tmp_path: Path) -> None:
    job, plan = planned(tmp_path, pixels)
    job.folder.path.rmdir()
    with pytest.raises(InputError, match="cannot write to the folder"):
        run_shard(job, next(plan.shards()))


def test_a_file_that_changed_after_planning_gives_rows_with_an_error(pixels: Path, tmp_path: Path) -> None:
    job, plan = planned(tmp_path, pixels)
    np.save(pixels, np.zeros((19, 28, 28), np.uint8))
    rows = results(job, plan)
    assert [row["row"] for row in rows] == list(range(20))
    assert all("as it was planned, got another size or time of change" in row["error"] for row in rows)


def test_arrays_of_the_wrong_kind_give_rows_with_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "a.npy", np.zeros((2, 28, 28), np.float64))
    np.save(folder / "b.npy", np.zeros((3, 28, 28, 4), np.uint8))
    np.savez(folder / "c.npz", images=np.zeros((4, 28, 28), np.uint8))
    np.save(folder / "d.npy", np.array([{}]), allow_pickle=True)
    rows = results(*planned(tmp_path, folder))
    assert [row["error"] is None for row in rows] == [False] * 5 + [True] * 4 + [False]
    assert "dtype float64" in rows[0]["error"]
    assert "(3, 28, 28, 4)" in rows[2]["error"]


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    images = np.random.default_rng(0).integers(0, 256, (40, 28 * 28), dtype=np.uint8)
    table = pa.table({"image": pa.array(list(images), pa.list_(pa.uint8()))})
    pq.write_table(
        table, path, row_group_size=10, compression="none", use_dictionary=False, write_page_checksum=True
    )
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + 3000] ^= 0xFF
    path.write_bytes(content)
    rows = results(*planned(tmp_path, path, shard_rows=7))
    assert [row["row"] for row in rows] == list(range(40))
    bad = [row["row"] for row in rows if row["error"]]
    assert bad == list(range(10, 20))
    assert "in.parquet[10]" in rows[10]["error"]


def test_a_path_that_is_no_text_costs_its_own_row_only(tmp_path: Path) -> None:
    paths = pa.array([b"gone.png", b"\xff\xfe", b"gone.png"]).view(pa.string())
    pq.write_table(pa.table({"image": paths}), tmp_path / "in.parquet")
    errors = [row["error"] for row in results(*planned(tmp_path, tmp_path / "in.parquet"))]
    assert ["gone.png" in error for error in errors] == [True, False, True]
    assert "in.parquet[1], got 'utf-8' codec" in errors[1]


def test_an_npz_is_read_once_for_all_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def counted(path: Path) -> Any:
        reads.append(path)
        return map_array(path)

    monkeypatch.setattr("nip_runtime.operate.bulk.rows.map_array", counted)
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, images=np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8))
    rows = results(*planned(tmp_path, tmp_path / "a.npz", tmp_path / "b.npz", shard_rows=4))
    assert [row["error"] for row in rows] == [None] * 40
    assert reads == [tmp_path / "a.npz", tmp_path / "b.npz"]


def test_more_shards_than_a_folder_takes_are_refused(
    pixels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nip_runtime.operate.bulk.run._MOST_SHARDS", 2)
    with pytest.raises(InputError, match=r"at most 2 shards, got 3, with 20 rows in .*pixels\.npy alone"):
        planned(tmp_path, pixels)


def test_names_that_are_no_utf8_are_written_readably(tmp_path: Path, pixels: Path) -> None:
    odd = tmp_path / "in\udcff.npy"
    shutil.copy(pixels, odd)
    np.save(tmp_path / "bad\udcfe.npy", np.zeros((1, 28, 28), np.float64))
    rows = results(*planned(tmp_path, odd, tmp_path / "bad\udcfe.npy"))
    assert rows[0]["source"] == f"{tmp_path}/in\\xff.npy"
    assert rows[-1]["source"] == f"{tmp_path}/bad\\xfe.npy"
    assert rows[-1]["error"]
