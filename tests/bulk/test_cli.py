"""The command without its shards: what is imported, refused and shown."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.hardening import bulk_runs as runs
from nip_runtime.cli.batch_progress import BatchProgress
from nip_runtime.cli.main import main
from nip_runtime.errors import InputError
from nip_runtime.operate.bulk.config import BatchConfig
from nip_runtime.operate.bulk.parts import Counts
from nip_runtime.operate.bulk.plan import Kind, Plan, Settings, Source

PLAN = Plan(
    Settings(model="m", nip_version="1", device="cpu", batch=1, shard_rows=10, column="", logits=False),
    (Source("/a.npy", Kind.ARRAY, 35, 1, 1),),
)


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.zeros((3, 28, 28), np.uint8))
    return tmp_path / "x.npy"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["batch", *map(str, arguments)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_the_help_loads_neither_pyarrow_nor_distributed() -> None:
    heavy = ("pyarrow", "distributed", "dask", "numpy", "onnxruntime", "cv2")
    code = (
        "import sys\nfrom nip_runtime.cli.main import main\n"
        "try:\n    main(['batch', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', *sorted(set({heavy!r}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=runs.ROOT)
    assert done.stdout.splitlines()[-1] == "LOADED"
    assert "nip batch model.nip.onnx --in photos/ --out answers/" in done.stdout


def test_a_missing_package_is_named_before_any_work(
    pixels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = refused(capsys, runs.MODEL, "--in", pixels, "--out", tmp_path / "out")
    assert 'pip install "nip-runtime[scale]"' in error
    assert not (tmp_path / "out").exists()


def test_wrong_usage_is_one_line(pixels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "required: --out" in refused(capsys, runs.MODEL, "--in", pixels)
    assert "required: --in" in refused(capsys, runs.MODEL, "--out", out)
    assert "invalid choice: 'ray'" in refused(
        capsys, runs.MODEL, "--in", pixels, "--out", out, "--engine", "ray"
    )
    for option in ("--shard-rows", "--batch", "--workers", "--threads"):
        error = refused(capsys, runs.MODEL, "--in", pixels, "--out", out, option, "0")
        assert "of at least 1, got 0" in error
    assert not out.exists()


def test_models_that_are_none_and_folders_that_can_not_be_are_refused(
    pixels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "expected an ONNX model" in refused(capsys, pixels, "--in", pixels, "--out", out)
    assert "gone.onnx" in refused(capsys, tmp_path / "gone.onnx", "--in", pixels, "--out", out)
    assert not out.exists()
    assert "to make the folder" in refused(capsys, runs.MODEL, "--in", pixels, "--out", pixels)
    assert "to make the folder" in refused(capsys, runs.MODEL, "--in", pixels, "--out", pixels / "out")


def test_a_required_signature_is_required(
    pixels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, key, public_key = (tmp_path / name for name in ("m.onnx", "key.pem", "pub.pem"))
    shutil.copy(runs.MODEL, model)
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public_key.write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    arguments = (
        model,
        "--in",
        pixels,
        "--out",
        tmp_path / "out",
        "--require-signature",
        tmp_path / "pub.pem",
    )
    assert "sig" in refused(capsys, *arguments)
    assert main(["sign", str(model), "--key", str(key)]) == 0
    assert main(["batch", *map(str, arguments)]) == 0


def test_names_of_files_do_not_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out\udcff"
    folder.mkdir()
    (folder / "bad\x1b[31m.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = ["batch", str(runs.MODEL), "--in", str(folder), "--out", str(out), "--workers", "1"]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert "1 rows in 1 parts in" in shown.out
    assert r"bad\x1b[31m.png" in shown.err
    assert "\x1b" not in shown.out + shown.err


def test_a_config_needs_inputs() -> None:
    with pytest.raises(InputError, match="name one with --in"):
        BatchConfig(model=Path("m"), inputs=(), out=Path("o"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def counts(shard: int, rows: int = 10) -> Counts:
    return Counts(shard=shard, rows=rows, flagged=0, errors=0, first_error="", fresh=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("nip_runtime.cli.batch_progress.time.monotonic", lambda: now[0])
    return now


def test_a_terminal_sees_rate_and_time_left(clock: list[float]) -> None:
    stream = Terminal()
    progress = BatchProgress(stream)
    progress.planned(PLAN, [counts(0)])
    clock[0] += 2
    progress.tick(running=1, slots=1)
    assert stream.getvalue().endswith("1 of 4 shards, 10 of 35 rows; 1 shard at work")
    progress.done(counts(1))
    clock[0] += 2
    progress.tick(running=1, slots=1)
    # 10 rows in 4 s; those of an earlier run do not count as quick.
    assert stream.getvalue().endswith("\r\033[K2 of 4 shards, 20 of 35 rows, 2.5 rows/s, 6 s left")
    assert "35 rows in 1 file, 4 shards; 1 are there already" in stream.getvalue()
    assert progress.shards == "2 of 4 shards"


def test_a_log_gets_a_line_every_half_minute(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = BatchProgress(stream)
    progress.planned(PLAN, [])
    for shard in range(3):
        progress.done(counts(shard))
        for _ in range(10):
            clock[0] += 2
            progress.tick(running=1, slots=1)
    progress.clear()
    assert stream.getvalue() == (
        "35 rows in 1 file, 4 shards\n"
        "2 of 4 shards, 20 of 35 rows, 0.7 rows/s, 22 s left\n"
        "3 of 4 shards, 30 of 35 rows, 0.5 rows/s, 10 s left\n"
    )


def test_it_is_said_once_that_no_worker_is_left(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = BatchProgress(stream)
    progress.planned(PLAN, [])
    for _ in range(25):
        clock[0] += 1
        progress.tick(running=1, slots=0)
    assert stream.getvalue().count("no Dask worker is left; waiting for one") == 1
