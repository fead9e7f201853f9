"""Files are whole or not there, whatever the disk and the process do: real kills, a really full disk."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nip_runtime.errors import ExportError, InputError
from nip_runtime.support.writing import check_target, replacing, write_whole

OLD, NEW = b"what stood here before", b"new" * 1000

HOLD = """
import sys, time
from pathlib import Path
from nip_runtime.support.writing import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""
LIMITED = """
import resource, sys
from pathlib import Path
from nip_runtime.errors import ExportError
from nip_runtime.support.writing import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_whole(Path(sys.argv[1]), bytes(1 << 20), error=ExportError)
except ExportError as error:
    print(error)
"""
LOOP = """
import sys
from pathlib import Path
from nip_runtime.support.writing import write_whole
print(flush=True)
while True:
    write_whole(Path(sys.argv[1]), bytes([7]) * 3_000_000)
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(OLD)
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def start_writing(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_the_next_writer_removes_what_a_killed_one_left(target: Path) -> None:
    stop(start_writing(target))
    assert target.read_bytes() == OLD
    (left,) = set(names(target.parent)) - {target.name}
    assert re.fullmatch(r"\.model\.onnx\.[a-z0-9_]{8}\.part", left)
    write_whole(target, NEW)
    assert names(target.parent) == [target.name]
    assert target.read_bytes() == NEW


def test_a_writer_at_work_is_no_leftover(target: Path) -> None:
    process = start_writing(target)
    try:
        write_whole(target, NEW)
        assert len(names(target.parent)) == 2
    finally:
        stop(process)
    write_whole(target, NEW)
    assert names(target.parent) == [target.name]


def test_only_leftovers_of_the_same_target_are_removed(target: Path, tmp_path: Path) -> None:
    others = {
        ".model.onnx.part",
        ".model.onnx.backup.part",  # eight signs are tempfile's
        ".other.onnx.abcd1234.part",
        "model.onnx.abcd1234.part",
        ".model.onnx.abcd1234.partial",
    }
    for name in others:
        (tmp_path / name).write_bytes(b"somebody's")
    (tmp_path / ".model.onnx.aaaaaaaa.part").symlink_to(target)
    (tmp_path / ".model.onnx.bbbbbbbb.part").mkdir()
    (tmp_path / ".model.onnx.cccccccc.part").write_bytes(b"a leftover")
    write_whole(target, NEW)
    assert set(names(tmp_path)) == others | {
        target.name,
        ".model.onnx.aaaaaaaa.part",
        ".model.onnx.bbbbbbbb.part",
    }


def test_writers_at_once_leave_one_whole_file(target: Path) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]
    errors: list[Exception] = []

    def work(content: bytes) -> None:
        try:
            for _ in range(25):
                write_whole(target, content)
        except Exception as error:  # any at all
            errors.append(error)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        assert target.read_bytes() in (OLD, *contents)
        seen += 1
    for thread in threads:
        thread.join()
    assert not errors
    assert seen > 10
    assert names(target.parent) == [target.name]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting takes root")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine mounts nothing")
    try:
        target = folder / "model.onnx"
        write_whole(target, OLD)
        with pytest.raises(
            ExportError, match=r"cannot write .*: No space left .*; the old file is as it was"
        ):
            write_whole(target, bytes(1 << 20), error=ExportError)
        assert target.read_bytes() == OLD
        assert names(folder) == [target.name]
        (folder / "filler").write_bytes(bytes(200 << 10))
        write_whole(target, NEW)  # what still fits is written
        assert target.read_bytes() == NEW
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_limit_on_file_size_leaves_the_old_file(target: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(target)], capture_output=True, text=True, check=True
    )
    assert re.search(r"cannot write .*: File too large; the old file is as it was", done.stdout)
    assert target.read_bytes() == OLD
    assert names(target.parent) == [target.name]


def test_a_name_too_long_for_the_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        write_whole(tmp_path / ("m" * 250), NEW)
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
@pytest.mark.parametrize("is_link", [False, True], ids=["itself", "by a link, as /dev/stdout is one"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, is_link: bool) -> None:
    """By root, ``--out /dev/null`` would take the device away from every process of the machine."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    if is_link:
        path = tmp_path / "link"
        path.symlink_to("pipe")
    before = sorted(tmp_path.iterdir())
    refusal = f"expected a file to write, got {path}, which is a device or a pipe"
    with pytest.raises(InputError, match=refusal):
        check_target(path)
    with pytest.raises(InputError, match=refusal):
        write_whole(path, b"content")
    assert sorted(tmp_path.iterdir()) == before
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert path.is_symlink() == is_link


def test_permissions_stay_or_follow_the_umask(target: Path) -> None:
    target.chmod(0o600)
    write_whole(target, NEW)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.chmod(0o444)
    write_whole(target, OLD)
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    before = os.umask(0o027)
    try:
        write_whole(target.with_name("other"), NEW)
        assert os.umask(0o027) == 0o027, "asking for the umask does not change it"
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.with_name("other").stat().st_mode) == 0o640


def test_a_kill_at_any_moment_leaves_a_whole_file(target: Path) -> None:
    """The short form of ``python -m benchmarks.hardening.export_faults``."""
    for attempt in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(target)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.004 * attempt)
        stop(process)
        assert target.read_bytes() in (OLD, bytes([7]) * 3_000_000)
    write_whole(target, OLD)
    assert names(target.parent) == [target.name]


def test_an_error_in_the_block_leaves_nothing(target: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(target) as temporary:
        temporary.write_bytes(NEW)
        raise ZeroDivisionError
    assert names(target.parent) == [target.name]
    assert target.read_bytes() == OLD
