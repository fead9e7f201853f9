"""What opening the file costs, in fresh processes, beside the plain model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nip_runtime.operate.bench.memory import Footprint, Opener, Subject, footprints
from nip_runtime.operate.bench.plain import PlainModel
from nip_runtime.operate.bench.plan import BenchPlan, EngineChoice
from nip_runtime.operate.bench.report import Opened
from nip_runtime.operate.bench.rounds import ratio, spread
from nip_runtime.operate.bench.timing import Progress

_OPENERS = {
    EngineChoice.AUTO: (Opener.AUTO,),
    EngineChoice.FUSED: (Opener.FUSED,),
    EngineChoice.GATED: (Opener.GATED,),
    EngineChoice.BOTH: (Opener.FUSED, Opener.GATED),
}


def measure_openings(
    plain: PlainModel, device: str, plan: BenchPlan, progress: Progress
) -> tuple[Opened, ...]:
    """Open the plain model, then the file as the plan asks, in ``plan.openings`` fresh processes each.

    Engine auto is opened as such: finding out which engine is cheaper is part of what opening costs.
    """
    if not plan.openings:
        return ()
    subjects = {
        opener: Subject(
            path=plain.path if opener is Opener.PLAIN else plan.path,
            opener=opener,
            device=device,
            threads=plan.threads,
            batch=plain.batch or 1,
        )
        for opener in (Opener.PLAIN, *_OPENERS[plan.engine])
    }
    sizes = dict.fromkeys(subjects, plan.path.stat().st_size) | {Opener.PLAIN: plain.size_bytes}
    advance = progress("opening in fresh processes", plan.openings * len(subjects))
    found = footprints(subjects, repeats=plan.openings, advance=advance)
    return tuple(_opened(opener, sizes[opener], found[opener], found[Opener.PLAIN]) for opener in subjects)


def _opened(opener: Opener, file_bytes: int, found: Footprint, plain: Footprint) -> Opened:
    is_plain = opener is Opener.PLAIN
    return Opened(
        opener=opener,
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
