"""Every bad file gets one clear error, and onnxruntime never sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from nip_runtime.cli.main import main
from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.session import DefendedSession
from tests.abuse.files.bad_file import BadFile
from tests.abuse.files.catalogue import BAD_FILES


@pytest.fixture(autouse=True)
def _no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("onnxruntime was called")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    monkeypatch.setattr("nip_runtime.run.providers.open_session", refuse)
    monkeypatch.setattr("nip_runtime.run.engine.choose.open_session", refuse)


def _message(open_it: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_it(path)
    return str(caught.value)


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_a_bad_file_gets_one_clear_error(
    bad: BadFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad.place(tmp_path)
    message = _message(read_artifact, path)
    assert re.search(bad.says, message), message
    assert message.count("; ") >= 1 and "expected" in message  # what was expected, what came, what to do
    assert message.isprintable() and len(message) < 6000
    assert _message(lambda path: DefendedSession(path, device="cpu"), path) == message
    assert main(["inspect", str(path)]) == (0 if bad.shown else 2)
    shown = capsys.readouterr()
    assert bad.shown or shown.err == f"nip: error: {message}\n"
    np.save(tmp_path / "images.npy", np.zeros((1, 28, 28), np.uint8))
    assert main(["predict", str(path), str(tmp_path / "images.npy")]) == 2
    assert capsys.readouterr().err == f"nip: error: {message}\n"


def test_names_are_unique() -> None:
    names = [bad.name for bad in BAD_FILES]
    assert len(set(names)) == len(names) > 200
