"""What opening the file costs, in fresh processes, beside the plain model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nip_runtime.bench import memory
from nip_runtime.bench.memory import Footprint
from nip_runtime.bench.plan import BenchPlan
from nip_runtime.bench.report import Contender, Opened
from nip_runtime.bench.rounds import ratio, spread
from nip_runtime.bench.subject import Subject
from nip_runtime.bench.timing import Progress


def measure_openings(
    subject: Subject, engines: Sequence[Contender], plan: BenchPlan, progress: Progress
) -> tuple[Opened, ...]:
    """Open the plain model, then the file once per engine, in ``plan.openings`` fresh processes each."""
    contenders = (Contender.PLAIN, *engines)
    sizes = {name: subject.artifact.container.size_bytes for name in contenders}
    sizes[Contender.PLAIN] = subject.plain.size_bytes
    subjects = {
        str(contender): memory.Subject(
            path=subject.plain.path if contender is Contender.PLAIN else plan.path,
            opener=memory.Opener(contender),
            device=str(subject.opener.device),
            threads=plan.threads,
            batch=subject.plain.batch or 1,
        )
        for contender in contenders
    }
    advance = progress("opening", plan.openings * len(subjects))
    found = memory.footprints(subjects, repeats=plan.openings, advance=advance)
    return tuple(_opened(name, sizes[name], found[name], found[Contender.PLAIN]) for name in contenders)


def _opened(contender: Contender, file_bytes: int, found: Footprint, plain: Footprint) -> Opened:
    is_plain = contender is Contender.PLAIN
    return Opened(
        contender=contender,
        file_bytes=file_bytes,
        opening_ms=spread(_times(found) * 1e3),
        added_bytes=found.added_bytes,
        added_after_run_bytes=found.added_after_run_bytes,
        resident_bytes=found.resident_bytes,
        opening_ratio=None if is_plain else ratio(_times(found), _times(plain)),
        added_ratio=None if is_plain else found.added_bytes / max(plain.added_bytes, 1),
        resident_ratio=None if is_plain else found.resident_bytes / plain.resident_bytes,
    )


def _times(found: Footprint) -> NDArray[np.float64]:
    return np.array(found.opening_s)
