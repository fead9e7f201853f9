"""Exports killed at random moments and written to full disks: is the file that stood there still whole?

    python -m benchmarks.hardening.export_faults [--kills 100] [--quick] [--save]

A small network is exported over a defended file, again and again, each time in a process that is killed
(SIGKILL) at a moment drawn from the time an export takes: first whole exports, then the writing alone
(write, verify, write with manifest, rename), then nothing but the last moments around the rename. After each
kill the file must open and answer as the old or as the new one. Then the disk is really full (a small tmpfs,
where this machine mounts one) or a file may not grow (RLIMIT_FSIZE). At last, one more export must leave no
temporary file of all those killed.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.hardening.record import Count, Record, command_line, finish
from benchmarks.hardening.tiny import SEED, exporter
from nip_export.pipeline import Prepared, write_defended
from nip_runtime import DefendedSession, ExportError, NipError
from nip_runtime.cli.progress import Progress

BUDGETS: Final = (0.10, 0.05)
"""Of the old file and the new one: that is how they are told apart."""
WHOLE, WRITING, RENAME = "whole exports", "the writing", "the rename"
_SHARES: Final = {WHOLE: 0.2, WRITING: 0.5, RENAME: 0.3}
_AROUND: Final = 0.3
"""Share of the time that writing takes, before and after its end, that counts as around the rename."""
_DISK_KIB: Final = (24, 48, 64)
_QUICK: Final = 20


def state_of(path: Path) -> str:
    """ "old" or "new" for a file that opens and answers, "broken" for anything else."""
    try:
        with DefendedSession(path, device="cpu", threads=1) as session:
            images = np.zeros((8, *session.manifest.input.shape), np.float32)
            answered = len(session.predict(images)) == 8
            budget = session.manifest.calibration.benign_budget
    except NipError:
        return "broken"
    known = dict(zip(BUDGETS, ("old", "new"), strict=True))
    return known.get(budget, "broken") if answered else "broken"


def kill_within(work: Callable[[], object], delay_s: float) -> bool:
    """Do ``work`` in a forked process and kill it after a while; whether it was still at it.

    Raises:
        RuntimeError: if the work itself failed.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, b"!")  # the clock runs from here
            work()
            code = 0
        finally:
            os._exit(code)
    os.read(read, 1)
    os.close(read)
    os.close(write)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise RuntimeError("the export failed by itself")
    return os.WIFSIGNALED(status)


def kills(folder: Path, count: int, advance: Callable[[int], None]) -> tuple[dict[str, Counter[str]], int]:
    """Kill exports; what became of the files by phase, and how many temporary files were left at once."""
    maker, random = exporter(), np.random.default_rng(SEED)
    path = folder / "model.nip.onnx"
    old = folder / "old.onnx"
    prepared = maker.prepare()
    write_defended(prepared, old, benign_budget=BUDGETS[0])

    def write() -> object:
        return write_defended(prepared, path, benign_budget=BUDGETS[1])

    def whole() -> object:
        return write_defended(maker.prepare(), path, benign_budget=BUDGETS[1])

    times = {WHOLE: _seconds(whole), WRITING: min(_seconds(write) for _ in range(3))}
    found: dict[str, Counter[str]] = {phase: Counter() for phase in _SHARES}
    left = 0
    for phase, share in _SHARES.items():
        work = whole if phase == WHOLE else write
        for _ in range(max(1, round(share * count))):
            path.write_bytes(old.read_bytes())
            least = (1 - _AROUND) * times[WRITING] if phase == RENAME else 0
            longest = times[WHOLE if phase == WHOLE else WRITING] * (1 if phase == WHOLE else 1 + _AROUND)
            found[phase]["killed"] += kill_within(work, random.uniform(least, longest))
            found[phase][state_of(path)] += 1
            left = max(left, len(leftovers(folder)))
            advance(1)
    write()
    found[RENAME]["leftovers at the end"] = len(leftovers(folder))
    return found, left


def full_disks(folder: Path) -> Counter[str]:
    """Export to disks of several sizes, too small for a second file, and under a limit on file sizes."""
    prepared, found = exporter().prepare(), Counter[str]()
    old = folder / "old.onnx"
    write_defended(prepared, old, benign_budget=BUDGETS[0])
    size = old.stat().st_size
    for spare_kib in (0, *_DISK_KIB):
        disk = folder / f"disk{spare_kib}"
        disk.mkdir()
        with mounted(disk, size + (spare_kib << 10)) as is_mounted:
            if is_mounted:
                found += _refused(prepared, old, disk / "model.nip.onnx")
    for share in (0.01, 0.3, 0.6, 0.99):
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * size), hard))
        try:
            path = folder / f"limit{share}.onnx"
            os.link(old, path)  # the limit forbids a copy too
            found += _refused(prepared, old, path, copy=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return found


def _refused(prepared: Prepared, old: Path, path: Path, *, copy: bool = True) -> Counter[str]:
    if copy:
        path.write_bytes(old.read_bytes())
    found = Counter(tried=1)
    try:
        write_defended(prepared, path, benign_budget=BUDGETS[1])
        found["fitted"] += 1  # the disk was large enough after all
    except ExportError as error:
        found["one clear error"] += "the old file is as it was" in str(error)
    found["whole"] += path.read_bytes() == old.read_bytes() or state_of(path) == "new"
    found["leftovers"] += len(leftovers(path.parent))
    return found


@contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[bool]:
    """A disk of this size at ``folder``; False where this machine mounts none."""
    options = ["-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    is_mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files."""
    return [path for path in folder.iterdir() if path.name.endswith(".part")]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def record(found: dict[str, Counter[str]], left: int, disks: Counter[str]) -> Record:
    """The counts to show."""
    counts = []
    for phase, counter in found.items():
        tries = counter["old"] + counter["new"] + counter["broken"]
        counts += [
            Count(
                what=f"kills across {phase}: the file is whole, old or new",
                value=tries - counter["broken"],
                of=tries,
                wanted="all",
                met=counter["broken"] == 0,
            ),
            Count(what=f"kills across {phase}: while at work", value=counter["killed"], of=tries),
            Count(
                what=f"kills across {phase}: the new file was there already", value=counter["new"], of=tries
            ),
        ]
    remaining = found[RENAME]["leftovers at the end"]
    counts += [
        Count(what="temporary files of killed exports, at most at once", value=left),
        Count(
            what="temporary files after one more export", value=remaining, wanted="none", met=remaining == 0
        ),
        Count(
            what="full disks and size limits: the old file intact",
            value=disks["whole"],
            of=disks["tried"],
            wanted="all",
            met=disks["whole"] == disks["tried"] > 0,
        ),
        Count(
            what="full disks and size limits: one clear error",
            value=disks["one clear error"],
            of=disks["tried"] - disks["fitted"],
            wanted="all",
            met=disks["one clear error"] == disks["tried"] - disks["fitted"],
        ),
        Count(
            what="full disks and size limits: temporary files left",
            value=disks["leftovers"],
            wanted="none",
            met=disks["leftovers"] == 0,
        ),
    ]
    return Record(
        name="export_faults",
        command=command_line("export_faults"),
        counts=tuple(counts),
        details={"seed": SEED, "signal": "SIGKILL", "size limits": 4, "disks": disks["tried"] - 4},
    )


def main() -> int:
    """Run the command; 1 if a file was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="in all (100)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} kills")
    parser.add_argument(
        "--save", action="store_true", help="write the counts to benchmarks/results/hardening"
    )
    args = parser.parse_args()
    count = _QUICK if args.quick else args.kills
    torch.set_num_threads(1)  # a forked process has no others
    with tempfile.TemporaryDirectory() as folder:
        killed, disks = Path(folder, "kills"), Path(folder, "disks")
        killed.mkdir()
        disks.mkdir()
        stage = Progress(sys.stderr)("Killing exports", count)
        found, left = kills(killed, count, stage)
        counted = record(found, left, full_disks(disks))
    return finish(counted, saves=args.save)


if __name__ == "__main__":
    sys.exit(main())
