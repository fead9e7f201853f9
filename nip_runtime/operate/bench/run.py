"""``nip bench`` without its presentation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from nip_runtime.operate.bench import machine
from nip_runtime.operate.bench.opening import measure_openings
from nip_runtime.operate.bench.overhead import measure_overhead
from nip_runtime.operate.bench.plan import BenchPlan, EngineChoice
from nip_runtime.operate.bench.report import BenchReport, Contender, Overhead
from nip_runtime.operate.bench.subject import Subject, prepare
from nip_runtime.operate.bench.timing import Progress, time_all
from nip_runtime.run import providers
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.engine.choose import Opened

_KINDS: Final[Mapping[EngineChoice, tuple[EngineKind, ...]]] = {
    EngineChoice.AUTO: (EngineKind.AUTO,),
    EngineChoice.FUSED: (EngineKind.FUSED,),
    EngineChoice.GATED: (EngineKind.GATED,),
    EngineChoice.BOTH: (EngineKind.FUSED, EngineKind.GATED),
}


def run_bench(plan: BenchPlan, progress: Progress) -> BenchReport:
    """Measure what the plan asks for.

    Raises:
        ArtifactError: if the file is no defended one, or too old for what is asked.
        DeviceError: if the device can't be had.
        InputError: if the user's plain model or data do not fit.
    """
    start = time.monotonic()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with TemporaryDirectory(prefix="nip-bench-") as folder:
        prepared = progress("preparing", 1)
        subject = prepare(plan, Path(folder) / "plain.onnx")
        device = str(subject.opener.device)
        described = machine.describe(device)  # before the timing: its load is that of others
        opened = open_engines(subject, plan.engine)
        prepared(1)
        engines = {kind: one.engine for kind, one in opened.items()}
        timed = tuple(time_all(subject, engines, plan, progress))
        overhead = _overhead(subject, plan, progress)
        weighed = measure_openings(subject.plain, device, plan, progress)
    manifest = subject.artifact.manifest
    auto = plan.engine is EngineChoice.AUTO
    return BenchReport(
        created=created,
        duration_s=time.monotonic() - start,
        file=str(plan.path),
        file_bytes=subject.artifact.container.size_bytes,
        bank_bytes=manifest.defence.bank.size_bytes,
        readout_bytes=manifest.defence.readout_size_bytes,
        graph_digest=manifest.digests.graph,
        policy=manifest.policy,
        precision=manifest.precision,
        has_screen=subject.has_screen,
        plain=None if plan.against is None else str(plan.against),
        agreement=subject.agreement,
        device=device,
        provider=subject.plain_session.get_providers()[0],
        threads=plan.threads or providers.usable_cores().count,
        auto_engine=next(iter(opened)) if auto else None,
        auto_why=next(iter(opened.values())).why if auto else None,
        machine=described,
        timed=timed,
        opened=weighed,
        overhead=overhead,
    )


def open_engines(subject: Subject, choice: EngineChoice) -> Mapping[Contender, Opened[Any]]:
    """Open the engines to time, on the file with its screen moved."""
    manifest = subject.artifact.manifest
    opened = [subject.opener.engine(kind, subject.model, manifest) for kind in _KINDS[choice]]
    return {Contender(one.engine.kind): one for one in opened}


def _overhead(subject: Subject, plan: BenchPlan, progress: Progress) -> Overhead | None:
    if subject.opener.device.provider != providers.CPU:
        return None
    rows = 0 if subject.has_screen else 1
    return measure_overhead(
        plan.path,
        subject.mixture.batch(1, rows),
        settings=subject.opener.settings,
        rounds=plan.rounds,
        progress=progress,
    )
