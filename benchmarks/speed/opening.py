"""What opening the files costs fresh processes, and how large they are."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.speed.files import SpeedFiles
from benchmarks.speed.measure import ENGINES, Effort
from benchmarks.speed.results import Choice, Opened, Sizes
from benchmarks.speed.sessions import open_defended
from nip_export.support.progress import Progress
from nip_runtime.file.manifest import Policy
from nip_runtime.operate.bench.memory import Opener, Subject, footprints
from nip_runtime.operate.bench.rounds import ratio, spread
from nip_runtime.run.engine.answers import EngineKind

PLAIN: Final = "plain"
OPENERS: Final = {EngineKind.FUSED: Opener.FUSED, EngineKind.GATED: Opener.GATED}


def measure(files: SpeedFiles, effort: Effort, progress: Progress) -> tuple[Opened, ...]:
    """Open the plain file and each policy's by each engine, in turns, every time in a fresh process."""
    keys: list[tuple[str, EngineKind | None]] = [(PLAIN, None)]
    keys += [(policy, engine) for policy in (Policy.GUARDED, Policy.ALWAYS) for engine in ENGINES]
    subjects = {
        f"{file} {engine}": Subject(path=files.plain, opener=Opener.PLAIN, threads=1)
        if engine is None
        else Subject(path=files.path(Policy(file)), opener=OPENERS[engine], threads=1)
        for file, engine in keys
    }
    advance = progress(f"{files.network.title}, opening", effort.openings * len(subjects))
    found = footprints(subjects, repeats=effort.openings, advance=advance)
    base = found[f"{PLAIN} None"]
    base_s = np.array(base.opening_s)
    opened = []
    for file, engine in keys:
        footprint = found[f"{file} {engine}"]
        seconds = np.array(footprint.opening_s)
        opened.append(
            Opened(
                file=file,
                engine=engine,
                added_bytes=footprint.added_bytes,
                memory_ratio=footprint.added_bytes / max(base.added_bytes, 1),
                opening_ms=spread(1e3 * seconds),
                opening_ratio=ratio(seconds, base_s),
            )
        )
    return tuple(opened)


def auto(files: SpeedFiles) -> dict[Policy, Choice]:
    """Which engine a session on one thread takes by itself."""
    found = {}
    for policy in (Policy.GUARDED, Policy.ALWAYS):
        with open_defended(files.path(policy), EngineKind.AUTO, threads=1) as session:
            found[policy] = Choice(EngineKind(session.engine), session.engine_why)
    return found


def sizes(files: SpeedFiles) -> Sizes:
    """Bytes on disk."""
    return Sizes(
        plain=files.plain.stat().st_size,
        guarded=files.path(Policy.GUARDED).stat().st_size,
        always=files.path(Policy.ALWAYS).stat().st_size,
        guarded_bank=files.spec(Policy.GUARDED).bank.size_bytes,
        always_bank=files.spec(Policy.ALWAYS).bank.size_bytes,
    )
