"""How many rows one run may have, so that a process stays below a memory ceiling: measured, not estimated.

What a graph's stated shapes promise is no guide: adding up the tensors that are alive together gave 0.76 of
what onnxruntime really took per row of a MobileNetV2, and a fifth for a small transformer, for operators
need room to work in and the arena keeps holes. So batches are run in processes of their own.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import IO, Final, cast

import numpy as np

from nip_runtime.errors import InputError
from nip_runtime.file.artifact import opened
from nip_runtime.file.container import encode_metadata_entry, parse_container
from nip_runtime.file.names import MANIFEST_KEY, SCREEN_THRESHOLD
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import has_screen

_log = logging.getLogger(__name__)

MOST: Final = 1024
_MIB: Final = 1 << 20
_MIXED: Final = tuple(Fraction(part, 16) for part in (16, 3, 11, 7, 13, 5, 16))
"""Batch sizes of a burst, as shares of the largest: the arena ends larger than after equal ones."""

_CLOSE: Final = 1.1
"""When what is left below the ceiling would take less than a tenth more rows, the search ends."""

_CAUTION: Final = 0.97
"""After a burst that was too large: memory comes in steps, so the exact share would often be so again."""


@dataclass(frozen=True)
class Opened:
    """A fresh process that has opened the file.

    Attributes:
        peak_bytes: of its memory so far.
        run: runs so many rows and says the peak meanwhile, in bytes.
    """

    peak_bytes: int
    run: Callable[[int], int]


def rows_within(
    path: str | Path,
    memory_ceiling_bytes: int,
    *,
    engine: str = EngineKind.AUTO,
    threads: int | None = None,
    most: int = MOST,
) -> int:
    """The most rows per run with which a process on the CPU that serves ``path`` stays below a ceiling.

    Fresh processes open the file, let every row take the second pass, and run growing batches, then bursts of
    mixed sizes, which took up to 1.7 times the memory of growing ones on a MobileNetV2. That takes seconds to
    a minute, and more memory than the ceiling only where growth is uneven. Streams with two runs at once, and
    threads that predict at the same time, need each run's memory: divide what is left beyond the opened file.
    Not for memory on a GPU: ``SessionSettings(gpu_mem_limit_bytes=…)`` limits that.

    Args:
        path: a defended file.
        memory_ceiling_bytes: what the whole process may hold at its peak: Python, libraries and model too.
        engine: as for :class:`~nip_runtime.session.DefendedSession`.
        threads: likewise.
        most: no more rows are tried.

    Raises:
        ArtifactError: if the file is not a defended one.
        InputError: if not even one row stays below the ceiling, if the file can't be run, or if the system
            does not tell a process's memory (anything but Linux and macOS).
    """
    if most < 1:
        raise InputError.mismatch(expected="most of at least 1", got=str(most), fix="allow at least one row")
    with tempfile.TemporaryDirectory() as folder:
        busiest = Path(folder) / "model.onnx"
        busiest.write_bytes(all_rows_twice(Path(path)))
        return search(lambda: _open_elsewhere(busiest, engine, threads), memory_ceiling_bytes, most=most)


def all_rows_twice(path: Path) -> bytes:
    """A defended file whose screen lets no row off the second pass: the busiest that it can get.

    Raises:
        ArtifactError: if the file is not a defended one.
    """
    with opened(path) as (artifact, content):
        model, manifest = Sliceable(content, artifact.container), artifact.manifest
    if not has_screen(model):
        return content
    lowest = np.finfo(np.float32).min  # not -Inf, which no file may have
    changed = model.with_constant(SCREEN_THRESHOLD, np.array(lowest, np.float32))
    digests = replace(manifest.digests, graph=parse_container(changed).graph_digest)
    defence = replace(manifest.defence, screen_threshold=float(lowest))
    manifest = replace(manifest, digests=digests, defence=defence)
    return changed + encode_metadata_entry(MANIFEST_KEY, manifest.to_json())


def search(open_it: Callable[[], AbstractContextManager[Opened]], ceiling_bytes: int, *, most: int) -> int:
    """Find the most rows whose peak stays at or below the ceiling, coming from below.

    Args:
        open_it: opens the file in a fresh process.
        ceiling_bytes: of the peak.
        most: the largest answer.

    Raises:
        InputError: if one row is too much.
    """
    most = _most_alone(open_it, ceiling_bytes, most)
    within, rows = 0, max(1, most // 2)
    while within < rows:
        with open_it() as opened:
            peak = max(opened.peak_bytes, *(opened.run(ceil(share * rows)) for share in _MIXED))
        _log.info("up to %d rows, mixed: peak of %.0f MiB", rows, peak / _MIB)
        if rows == 1:
            _refuse_above(ceiling_bytes, peak)
        share = (ceiling_bytes - opened.peak_bytes) / max(1, peak - opened.peak_bytes)
        if peak <= ceiling_bytes:
            within = rows
            rows = min(most, int(rows * share)) if share > _CLOSE else rows
        else:
            most = rows - 1
            rows = max(1, within, min(most, int(rows * share * _CAUTION)))
    return within


def _most_alone(open_it: Callable[[], AbstractContextManager[Opened]], ceiling_bytes: int, most: int) -> int:
    """Most rows for batches that only grow: a bound for mixed ones, which need more."""
    with open_it() as opened:
        rows, first = 1, opened.run(1)
        peak, per_row = max(opened.peak_bytes, first), max(0, first - opened.peak_bytes)
        _refuse_above(ceiling_bytes, peak)
        while (more := min(2 * rows, most)) > rows and peak + per_row * (more - rows) <= ceiling_bytes:
            now = opened.run(more)
            _log.info("%d rows: peak of %.0f MiB", more, now / _MIB)
            per_row = max(0, ceil((now - peak) / (more - rows)))
            rows, peak = more, max(now, peak)
    return rows if per_row == 0 else max(1, min(most, rows + (ceiling_bytes - peak) // per_row))


def _refuse_above(ceiling_bytes: int, peak_bytes: int) -> None:
    if peak_bytes > ceiling_bytes:
        raise InputError.mismatch(
            expected=f"a ceiling of at least {ceil(peak_bytes / _MIB)} MiB, what one row takes",
            got=f"{ceiling_bytes / _MIB:.0f} MiB",
            fix="allow more memory",
        )


@contextmanager
def _open_elsewhere(path: Path, engine: str, threads: int | None) -> Iterator[Opened]:
    command = [
        sys.executable,
        "-m",
        "nip_runtime.operate.memory_limit.probe",
        str(path),
        engine,
        str(threads or 0),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        asked, answered = cast(IO[str], process.stdin), cast(IO[str], process.stdout)

        def run(rows: int) -> int:
            with suppress(BrokenPipeError):  # its last answer says more
                asked.write(f"{rows}\n")
                asked.flush()
            return _peak(process, answered.readline())

        try:
            yield Opened(_peak(process, answered.readline()), run)
        finally:
            with suppress(BrokenPipeError):
                asked.close()  # tells it to end


def _peak(process: subprocess.Popen[str], line: str) -> int:
    answer: object = json.loads(line) if line else f"it ended with code {process.wait()}"
    if not isinstance(answer, int):
        raise InputError.mismatch(
            expected="a file that a fresh process can open and run",
            got=str(answer),
            fix="try `nip predict`, and see whether the machine is short of memory",
        )
    return answer
