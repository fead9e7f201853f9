"""What opening a file costs a fresh process: memory held, and time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from nip_runtime.errors import InputError
from nip_runtime.operate.bench.rounds import turn_order

REPEATS: Final = 3
_TIMEOUT_S: Final = 600

K = TypeVar("K", bound=str)


class Opener(StrEnum):
    """How a file is opened."""

    PLAIN = "plain"
    """As any ONNX file, in a bare onnxruntime session."""
    AUTO = "auto"
    """As a defended file, the engine picked by :class:`~nip_runtime.session.DefendedSession`."""
    FUSED = "fused"
    GATED = "gated"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a fresh process opens.

    Attributes:
        path: the file.
        opener: how.
        device: "cpu" or "cuda:0" and so on.
        threads: CPU threads for one run; None for the cores that may be used.
        batch: rows of the one run after opening.
    """

    path: Path
    opener: Opener
    device: str = "cpu"
    threads: int | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch: expected at least 1, got {self.batch}")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What opening a subject cost, over several fresh processes.

    Memory is the least of them, for what an allocator keeps of freed memory differs from run to run by a
    tenth. It is what the system counts as resident; where it only tells the peak, it is the peak.

    Attributes:
        added_bytes: by opening the file, the libraries being loaded and warm.
        resident_bytes: of the whole process then.
        added_after_run_bytes: by opening it and running it once.
        opening_s: how long opening it took, once per process.
    """

    added_bytes: int
    resident_bytes: int
    added_after_run_bytes: int
    opening_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.opening_s or min(self.opening_s) <= 0:
            raise ValueError(f"opening_s: expected positive times, got {self.opening_s}")


@dataclass(frozen=True)
class Opening:
    """What one process found; the fields are those of :class:`Footprint`."""

    added_bytes: int
    resident_bytes: int
    added_after_run_bytes: int
    opening_s: float


def resident_after_load(
    path: Path,
    opener: Opener = Opener.PLAIN,
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int = 1,
    repeats: int = REPEATS,
) -> Footprint:
    """What opening ``path`` costs, in ``repeats`` fresh processes one after the other.

    Raises:
        InputError: if it can't be opened this way; holds what the process said.
    """
    subject = Subject(path=path, opener=opener, device=device, threads=threads, batch=batch)
    return footprints({"subject": subject}, repeats=repeats)["subject"]


def footprints(
    subjects: Mapping[K, Subject], *, repeats: int = REPEATS, advance: Callable[[int], None] | None = None
) -> Mapping[K, Footprint]:
    """What opening each subject costs; the subjects take turns.

    Args:
        subjects: by name.
        repeats: fresh processes per subject, at least 1.
        advance: called with 1 after every process.

    Raises:
        InputError: if one can't be opened; holds what the process said.
    """
    if repeats < 1:
        raise InputError.mismatch(expected="at least 1 repeat", got=str(repeats), fix="ask for more")
    found: dict[K, list[Opening]] = {name: [] for name in subjects}
    for turn in range(repeats):
        for name in turn_order(list(subjects), turn):
            found[name].append(_open_elsewhere(subjects[name]))
            if advance is not None:
                advance(1)
    return {name: _summed_up(openings) for name, openings in found.items()}


def _open_elsewhere(subject: Subject) -> Opening:
    asked = [str(subject.path.absolute()), subject.opener, subject.device]
    asked += [str(subject.threads or 0), str(subject.batch)]
    done = subprocess.run(
        [sys.executable, "-m", "nip_runtime.operate.bench.probe", *asked],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise InputError.mismatch(
            expected=f"a file that a fresh process can open ({subject.path})",
            got=(done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1],
            fix="open it with `nip predict -v` to see why",
        )
    return Opening(**json.loads(done.stdout))


def _summed_up(openings: list[Opening]) -> Footprint:
    return Footprint(
        added_bytes=min(opening.added_bytes for opening in openings),
        resident_bytes=min(opening.resident_bytes for opening in openings),
        added_after_run_bytes=min(opening.added_after_run_bytes for opening in openings),
        opening_s=tuple(opening.opening_s for opening in openings),
    )
