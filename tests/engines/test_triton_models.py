"""A job's files as a Triton server's repository; the server itself is asked in tests/serving."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.engines.engines import ENGINES, Host
from benchmarks.engines.job import BATCHES, write_job
from benchmarks.engines.material import goldens
from benchmarks.engines.triton import PACKAGES, write_models
from nip_runtime.operate.triton import check_model


def test_every_file_of_a_job_becomes_a_model_with_its_plain_network_beside_it(tmp_path: Path) -> None:
    cases = [case for case in goldens() if case.name in ("golden always", "golden guarded-1.2")]
    job = write_job(cases, tmp_path)
    write_models(job, tmp_path / "models")
    entries = json.loads(job.read_text())["cases"]
    stems = {f"{number:03}{end}" for number in range(2) for end in ("", "-plain")}
    assert {folder.name for folder in (tmp_path / "models").iterdir()} == stems
    for entry, case in zip(entries, cases, strict=True):
        defended, plain = (tmp_path / "models" / Path(entry[kind]).stem for kind in ("model", "plain"))
        assert check_model(defended).folder == defended
        assert (defended / "1" / "model.onnx").read_bytes() == case.path.read_bytes()
        assert (plain / "1" / "model.onnx").read_bytes() == (tmp_path / entry["plain"]).read_bytes()
        text = (plain / "config.pbtxt").read_text()
        assert text.count("output {") == 1 and entry["plain_output"] in text
        assert f"max_batch_size: {max(BATCHES)}" in text


def test_the_server_is_installed_from_the_list_that_the_tests_use() -> None:
    (engine,) = (engine for engine in ENGINES if engine.host is Host.TRITON)
    assert engine.packages == PACKAGES
    assert PACKAGES[0].startswith("nvidia-pytriton==")
    assert any(package.startswith("tritonclient==") for package in PACKAGES)
