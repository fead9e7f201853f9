"""The whole run on a CPU: parts made, sent, joined and installed for real, every step with little work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import receive
from benchmarks.gpu.material import SITE_FOLDER, read_all
from benchmarks.gpu.parts import MANIFEST, read_manifest, unpack
from benchmarks.gpu.plan import PART_BYTES as PART_BYTES_SENT
from benchmarks.gpu.plan import PIECE_BYTES, PLANS, PlanName, Step, Turn
from benchmarks.gpu.prepare import prepare
from benchmarks.gpu.results import (
    FILES,
    Check,
    Compared,
    Held,
    Outcome,
    Profiled,
    Rival,
    Setting,
    Timed,
    of_kind,
    read,
)
from benchmarks.gpu.results import read_all as read_results
from benchmarks.gpu.run import main, run
from benchmarks.gpu.step import ROOT
from benchmarks.gpu.steps.tests import FILES as HOLDING
from benchmarks.speed.networks import Name
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Precision

PART_BYTES = 4 << 20
WITHOUT = """
import sys
for name in ("art", "captum", "cryptography", "dask", "foolbox", "jinja2", "jsonschema", "matplotlib",
             "prometheus_client", "pyarrow", "rich", "scipy"):
    sys.modules[name] = None
"""
"""What such a machine lacks, or may lack: importing it fails in every step."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny parts with this environment's own onnxruntime in them."""
    folder = tmp_path_factory.mktemp("gpu") / "parts"
    prepare(
        folder,
        only=[Name.FASHION_VGG],
        precisions=(Precision.FP32, Precision.FP16),
        own_runtime=True,
        part_bytes=PART_BYTES,
    )
    return folder


@pytest.fixture(scope="module")
def stash(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts as they arrive: one at a time, each with the manifest, the former ones gone."""
    folder = tmp_path_factory.mktemp("gpu") / "stash"
    names = [part.name for part in read_manifest(parts).parts]
    assert len(names) > 2
    for done, name in enumerate(names, start=1):
        came = tmp_path_factory.mktemp("came")
        for file in (MANIFEST, name):
            os.link(parts / file, came / file)
        assert receive.receive(came, folder) == tuple(names[done:])
    return folder


@pytest.mark.slow
def test_every_step_runs_on_a_cpu(
    stash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    out, work = tmp_path / "out", tmp_path / "work"
    code = main(["--parts", str(stash), "--out", str(out), "--device", "cpu", "--work", str(work)])
    assert code == 0, capsys.readouterr().out + (out / "log.txt").read_text(encoding="utf-8")
    assert len(list(out.iterdir())) <= 8
    rows = read_results(out)
    assert [row.problem for row in of_kind(rows, Outcome)] == [""] * len(PLANS[PlanName.SMALL].turns())
    (setting,) = of_kind(rows, Setting)
    assert (setting.device, setting.gpu, setting.plan) == ("cpu", "", "small")
    # The onnxruntime that was timed is the one from the parts.
    assert str(work / SITE_FOLDER / "onnxruntime") in (out / "log.txt").read_text(encoding="utf-8")
    assert [row for row in of_kind(rows, Compared) if not row.held] == []
    assert [row for row in of_kind(rows, Check) if not row.held] == []
    timed = {(row.precision, row.batch, row.way, row.source) for row in of_kind(rows, Timed)}
    assert timed == {
        (precision, batch, way, source)
        for precision in ("fp32", "fp16")
        for batch in (1, 4)
        for way in ("plain", "fused", "gated")
        for source in ("host", "device")
    }
    assert {row.way for row in of_kind(rows, Held)} == {"plain", "fused", "gated"}
    assert [(row.kind, row.batch) for row in of_kind(rows, Rival)] == [("eager", 1), ("eager", 4)]
    assert of_kind(rows, Profiled) or not any(row.state for row in of_kind(rows, Timed))


def test_the_plain_twin_and_the_weights_are_the_files_own(stash: Path, tmp_path: Path) -> None:
    from nip_export.demo.example import load_example

    unpack(stash, tmp_path)
    (network,) = read_all(tmp_path).values()
    state = network.state()
    expected = load_example().model.state_dict()
    assert list(state) == list(expected)
    assert all((state[name] == tensor.numpy()).all() for name, tensor in expected.items())
    assert any(tensor.at is not None for tensor in network.tensors)
    assert 0 < len(network.plain("fp32")) < network.path("fp32").stat().st_size


def test_a_damaged_part_is_refused_by_name(stash: Path, tmp_path: Path) -> None:
    came = tmp_path / "came"
    came.mkdir()
    for path in stash.iterdir():
        os.link(path, came / path.name)
    content = bytearray((came / "part-02").read_bytes())
    content[1000] ^= 1
    (came / "part-02").unlink()
    (came / "part-02").write_bytes(content)
    with pytest.raises(
        InputError, match=r"expected part-02 of .* bytes with SHA-256 .*, got .* send this part"
    ):
        unpack(came, tmp_path)
    assert receive.main([str(came), "--stash", str(tmp_path / "stash")]) == 2
    out = tmp_path / "out"
    assert main(["--parts", str(came), "--out", str(out), "--device", "cpu"]) == 1
    first, *others = of_kind(read(out / "steps.json"), Outcome)
    assert "expected part-02 of" in first.problem
    assert {outcome.problem for outcome in others} == {"not begun: the parts were not unpacked"}


def test_a_missing_part_and_a_missing_manifest_are_said(stash: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the manifest of format 1 .* bring manifest\.json along"):
        unpack(tmp_path, tmp_path)
    os.link(stash / MANIFEST, tmp_path / MANIFEST)
    with pytest.raises(InputError, match=r"expected part-01 in .* send this part once more"):
        unpack(tmp_path, tmp_path)


def test_parts_of_another_set_are_not_mixed_in(stash: Path, tmp_path: Path) -> None:
    came, kept = tmp_path / "came", tmp_path / "kept"
    came.mkdir()
    for name in (MANIFEST, "part-01"):
        (came / name).write_bytes((stash / name).read_bytes())
    left = receive.receive(came, kept)
    assert "part-01" not in left
    raw = json.loads((came / MANIFEST).read_text(encoding="utf-8")) | {"created": "later"}
    (came / MANIFEST).write_text(json.dumps(raw), encoding="utf-8")
    (came / "part-01").unlink()
    assert receive.receive(came, kept) == ("part-01", *left)


def test_a_step_over_its_limit_is_ended_with_what_it_started(tmp_path: Path) -> None:
    marker, log = tmp_path / "marker", tmp_path / "log.txt"
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(marker)!r}).touch()"
    script = (
        "import subprocess, sys; print('begun', flush=True);"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    outcome = run(Turn(Step.FAULTS, 1.0), [sys.executable, "-c", script], work=tmp_path, log=log)
    assert outcome.problem.splitlines() == ["ended after its limit of 1 s", "begun"]
    assert outcome.seconds < 3
    after = run(Turn(Step.PROFILE, 30.0), [sys.executable, "-c", "print('next')"], work=tmp_path, log=log)
    assert after.problem == ""
    assert "=== profile, at most 30 s\nnext" in log.read_text(encoding="utf-8")
    time.sleep(max(0.0, 3.5 - outcome.seconds))
    assert not marker.exists()


def test_a_step_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    script = "import os, sys; print('alas', flush=True); os.kill(os.getpid(), 11)"
    outcome = run(
        Turn(Step.SPEED, 30.0, "x"), [sys.executable, "-c", script], work=tmp_path, log=tmp_path / "l"
    )
    assert (outcome.name, outcome.problem) == ("speed x", "killed by SIGSEGV\nalas")


def test_one_run_fits_into_eight_minutes_and_eight_files() -> None:
    assert PLANS[PlanName.FULL].limit_s <= 480
    assert len(FILES) + 1 <= 8
    assert set(PLANS[PlanName.FULL].network_limits_s) == set(Name)
    readme = (ROOT / "benchmarks" / "gpu" / "README.md").read_text(encoding="utf-8")
    assert all(f"| {turn.name} | {turn.limit_s:g} |" in readme for turn in PLANS[PlanName.FULL].turns())
    assert f"| all | {PLANS[PlanName.FULL].limit_s:g} |" in readme


def test_the_tests_marked_gpu_are_all_in_the_files_that_run_there() -> None:
    own = Path(__file__)
    marks = ("mark." + "gpu", "on_" + "gpu(")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != own and any(mark in path.read_text(encoding="utf-8") for mark in marks)
    }
    assert found == set(HOLDING)


def test_a_part_and_the_checkout_travel_together() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("no checkout")
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    assert PART_BYTES_SENT + sum(path.stat().st_size for path in files if path.exists()) < PIECE_BYTES


def test_prepare_refuses_parts_too_large_to_travel(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.prepare", "--help"], capture_output=True, text=True, check=True
    )
    assert "--own-runtime" in done.stdout
    with pytest.raises(InputError, match="expected parts of 1 to 62914559 bytes, got 62914560"):
        prepare(tmp_path, only=[], own_runtime=True, part_bytes=60 << 20)
