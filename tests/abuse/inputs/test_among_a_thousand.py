"""What is wrong with some of a thousand inputs costs the others nothing: none is lost or out of order."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.cli.main import main
from nip_runtime.inputs.images import IMAGE_SUFFIXES, find_files
from nip_runtime.session import DefendedSession
from tests.abuse.inputs.array_files import ARRAY_FILES
from tests.abuse.inputs.image_files import IMAGE_FILES
from tests.abuse.inputs.thousand import (
    COUNT,
    MODEL,
    UNREADABLE,
    expected_answers,
    thousand_images,
    write_thousand,
)

cv2: Any = pytest.importorskip("cv2")
NOT_PLACED = ("a name with a null", "a name too long")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def session() -> Iterator[DefendedSession]:
    with DefendedSession(MODEL, device="cpu", threads=1) as session:
        yield session


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return thousand_images()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thousand")
    write_thousand(folder)
    return folder


@pytest.mark.parametrize("batch", ["1", "64", "5000"])
def test_nip_predict_answers_the_rest_in_order(
    folder: Path, images: NDArray[np.uint8], session: DefendedSession, capsys: Capture, batch: str
) -> None:
    arguments = ["predict", str(MODEL), str(folder), "--json", "--batch", batch, "--device", "cpu"]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    found = [(Path(line["file"]).name, line["index"], line.get("label")) for line in lines]
    assert found == expected_answers(session.predict(images).labels.tolist())
    errors = captured.err.splitlines()
    names = ["0000.png", "0317.png", "0500.npy[4]", "0998.png"]
    assert len(errors) == len(names)
    for name, error in zip(names, errors, strict=True):
        assert (
            error.startswith("nip: error: ") and "expected " in error and error.count(str(folder / name)) == 1
        )
    assert errors[2].endswith("got NaN; drop or repair such rows first")
    said = [line["error"] for line in lines if "error" in line]
    assert all(error.endswith(text) for error, text in zip(errors, said, strict=True))


def test_the_table_too(
    folder: Path, images: NDArray[np.uint8], session: DefendedSession, capsys: Capture
) -> None:
    assert main(["predict", str(MODEL), str(folder), "--device", "cpu"]) == 1
    _, *rows = capsys.readouterr().out.splitlines()
    lines = expected_answers(session.predict(images).labels.tolist())
    answered = [line for line in lines if line[2] is not None]
    assert [Path(row.split()[0]).name for row in rows] == [
        name if index is None else f"{name}[{index}]" for name, index, _ in answered
    ]


def test_exit_code_0_when_every_input_has_an_answer(folder: Path, capsys: Capture) -> None:
    assert main(["predict", str(MODEL), *(str(folder / f"{index:04}.png") for index in range(1, 9))]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("batch", [1, 16])
def test_a_stream_hands_out_errors_in_their_place(
    folder: Path, images: NDArray[np.uint8], session: DefendedSession, batch: int
) -> None:
    files = [folder / f"{index:04}.png" for index in range(COUNT)]
    answers = list(session.predict_stream(files, batch=batch, on_error="yield"))
    assert [answer.item for answer in answers] == files
    assert {answer.index for answer in answers if answer.error is not None} == set(UNREADABLE)
    labels = session.predict(images).labels
    assert all(answer.label == labels[answer.index] for answer in answers if answer.error is None)


def test_a_stream_of_arrays_with_a_row_of_nan(images: NDArray[np.uint8], session: DefendedSession) -> None:
    floats = (images[:, None] / np.float32(255)).astype(np.float32)
    floats[[3, 17, 999], 0, 9, 9] = np.nan, np.inf, 300
    answers = list(session.predict_stream(list(floats), on_error="yield"))
    assert {answer.index for answer in answers if answer.error is not None} == {3, 17, 999}
    labels = session.predict(images).labels
    assert all(answer.label == labels[answer.index] for answer in answers if answer.error is None)


def test_nip_predict_names_every_wrong_file_of_a_folder_once(tmp_path: Path, capsys: Capture) -> None:
    """All the hostile files there are in one folder; this model resizes and is grey."""
    cases = [case for case in (*IMAGE_FILES, *ARRAY_FILES) if not case.module and case.name not in NOT_PLACED]
    placed = {case.put(tmp_path): case for case in cases}
    files = find_files([tmp_path])
    assert {path for path, case in placed.items() if "a folder" not in case.error} == set(files)
    assert main(["predict", str(MODEL), str(tmp_path), "--json", "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(line["file"]) for line in lines] == files
    for line in lines:
        case = placed[Path(line["file"])]
        fits = case.suffix in IMAGE_SUFFIXES and (case.content is not None or "resize" in case.error)
        assert ("label" in line) == fits, case.name
    errors = captured.err.splitlines()
    assert len(errors) == sum("error" in line for line in lines)
    assert all(f"{tmp_path}/" in error and error.isprintable() for error in errors)


def test_names_that_are_no_text_do_not_end_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(cv2.imencode(".png", np.zeros((28, 28), np.uint8))[1])
    names = [b"caf\xe9.png", b"a\nb\x1b[2J.png", "鞋.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    for encoding in ("utf-8", "ascii"):
        for extra in ([], ["--json"]):
            output = io.TextIOWrapper(io.BytesIO(), encoding)
            monkeypatch.setattr(sys, "stdout", output)
            assert main(["predict", str(MODEL), str(tmp_path), "--device", "cpu", *extra]) == 0
            output.seek(0)
            lines = output.read().splitlines()
            assert all(line.isprintable() for line in lines)
            if extra:
                files = [os.fsencode(Path(json.loads(line)["file"]).name) for line in lines]
                assert sorted(files) == sorted(names)
            else:
                assert len(lines) == 1 + len(names)


def test_wrong_usage_can_not_clear_the_screen(tmp_path: Path, capsys: Capture) -> None:
    assert main(["predict", str(MODEL), str(tmp_path / "\x1b[2J\nnip: all is well.png")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error[:-1].isprintable()


def test_links_that_lead_in_circles_are_not_followed(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "0001.png", tmp_path / "a.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "deep" / "b.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "itself.png").symlink_to("itself.png")
    (tmp_path / "folder.png").mkdir()
    shutil.copy(folder / "0002.png", tmp_path / "folder.png" / "c.png")
    found = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path])]
    assert found == ["a.png", "deep/b.png", "folder.png/c.png", "itself.png"]
