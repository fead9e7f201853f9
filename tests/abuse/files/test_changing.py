"""Files that change while they are opened: what was checked is what runs, and the process lives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import opened
from nip_runtime.file.container.wholefile import read_whole
from nip_runtime.run.engine.choose import open_engine
from nip_runtime.session import DefendedSession
from tests.abuse.files.seal import golden

ROWS = np.linspace(0, 1, 3 * 784, dtype=np.float32).reshape(3, 1, 28, 28)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(len(golden())))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: os.truncate(path, 0), id="cut-to-nothing"),
        pytest.param(lambda path: os.truncate(path, 100), id="cut"),
        pytest.param(_overwrite, id="overwritten"),
        pytest.param(lambda path: path.write_bytes(golden("detect")), id="replaced"),
        pytest.param(lambda path: path.unlink(), id="removed"),
    ],
)
def test_what_was_checked_is_what_runs(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file changes after the check, before onnxruntime gets it."""
    path = tmp_path / "model.onnx"
    path.write_bytes(golden())
    with DefendedSession(path, device="cpu", threads=1) as session:
        expected = session.predict(ROWS)

    def change_first(*args: object, **kwargs: object) -> object:
        change(path)
        return open_engine(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("nip_runtime.session.open_engine", change_first)
    with DefendedSession(path, device="cpu", threads=1) as session:
        assert not path.exists() or path.read_bytes() != golden()
        np.testing.assert_array_equal(session.predict(ROWS).logits, expected.logits)


def test_the_bytes_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(golden())
    with opened(path) as (_, content):
        os.truncate(path, 0)
        assert content == golden()


@pytest.mark.parametrize("grown_by", [-1, -1000, 1, 1000])
def test_a_file_that_is_still_being_written_is_told(
    grown_by: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size when it is opened is not its size when it was read."""
    path = tmp_path / "model.onnx"
    path.write_bytes(golden())
    found = os.fstat

    def change_then(descriptor: int) -> os.stat_result:
        result = found(descriptor)
        os.truncate(path, len(golden()) + grown_by)
        return result

    monkeypatch.setattr("nip_runtime.file.container.wholefile.os.fstat", change_then)
    with pytest.raises(ArtifactError, match="got one that changed while it was read"):
        read_whole(path, 1 << 20)


def test_the_limit_on_size_holds(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 1001)
    assert len(read_whole(path, 1001)) == 1001
    with pytest.raises(ArtifactError, match=r"expected a file of at most 1000 bytes .*, got 1001 bytes"):
        read_whole(path, 1000)
