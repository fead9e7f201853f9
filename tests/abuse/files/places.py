"""What stands at a path and is no plain, finished file."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.abuse.files.bad_file import BadFile
from tests.abuse.files.seal import golden


def place_files() -> Iterator[BadFile]:
    """All of this kind that this system knows."""
    yield BadFile("nothing", "got nothing there; check the path", lambda folder: folder / "none.onnx")
    yield BadFile("folder", "got a folder; check the path", _folder)
    yield BadFile("name-too-long", "expected a readable file", lambda folder: folder / ("x" * 5000))
    yield BadFile("null-in-name", "expected a readable file", lambda folder: folder / "a\0b.onnx")
    yield BadFile("sparse-of-3-gb", "expected a file of at most 2147483647 bytes", _sparse)
    if os.name != "posix":
        return
    yield BadFile("pipe", "got a named pipe", _pipe)
    yield BadFile("socket", "got a socket", _socket)
    yield BadFile("link-to-pipe", "got a named pipe", lambda folder: _link(folder, _pipe(folder)))
    yield BadFile("link-to-zero", "got a device", lambda folder: _link(folder, Path("/dev/zero")))
    yield BadFile("link-to-terminal", "got a device", lambda folder: _link(folder, Path("/dev/tty")))
    yield BadFile("link-to-nothing", "got nothing there", lambda folder: _link(folder, folder / "gone"))
    yield BadFile(
        "link-to-itself", "expected a readable file", lambda folder: _link(folder, folder / "link.onnx")
    )
    yield BadFile("file-as-folder", "expected a readable file", _file_as_folder)
    if os.geteuid() != 0:  # root reads everything
        yield BadFile("unreadable", "expected a readable file .*ermission denied", _unreadable)


def _folder(folder: Path) -> Path:
    path = folder / "folder.onnx"
    path.mkdir()
    return path


def _sparse(folder: Path) -> Path:
    path = folder / "sparse.onnx"
    path.write_bytes(golden())
    os.truncate(path, 3 << 30)
    return path


def _pipe(folder: Path) -> Path:
    path = folder / "pipe.onnx"
    os.mkfifo(path)
    return path


def _socket(folder: Path) -> Path:
    path, before = folder / "socket", Path.cwd()
    os.chdir(folder)  # a socket's path may have no more than some hundred bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)
    return path


def _link(folder: Path, target: Path) -> Path:
    path = folder / "link.onnx"
    path.symlink_to(target)
    return path


def _file_as_folder(folder: Path) -> Path:
    path = folder / "file"
    path.write_bytes(golden())
    return path / "model.onnx"


def _unreadable(folder: Path) -> Path:
    path = folder / "unreadable.onnx"
    path.write_bytes(golden())
    path.chmod(0)
    return path
