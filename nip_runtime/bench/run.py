"""``nip bench`` without its presentation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from nip_runtime.bench import machine
from nip_runtime.bench.opening import measure_openings
from nip_runtime.bench.plan import BenchPlan, EngineChoice
from nip_runtime.bench.report import BenchReport, Contender
from nip_runtime.bench.shares import Inputs
from nip_runtime.bench.subject import Subject, prepare
from nip_runtime.bench.timing import Progress, time_all
from nip_runtime.engine.answers import Engine
from nip_runtime.engine.fused import FusedEngine
from nip_runtime.engine.gated import GatedEngine
from nip_runtime.providers import usable_cores
from nip_runtime.runners import HostRunner


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
        subject = prepare(plan, Path(folder) / "plain.onnx")
        device = str(subject.opener.device)
        described = machine.describe(device)  # the load is that before the bench's own
        engines = open_engines(subject, plan.engine)
        timed = tuple(time_all(subject, engines, plan, progress))
        opened = measure_openings(subject, tuple(engines), plan, progress) if plan.openings else ()
        manifest = subject.artifact.manifest
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
            threads=plan.threads or usable_cores().count,
            auto_engine=None,
            machine=described,
            timed=timed,
            opened=opened,
            overhead=None,
        )


_ENGINES: Final[Mapping[EngineChoice, tuple[Contender, ...]]] = {
    EngineChoice.AUTO: (Contender.FUSED,),
    EngineChoice.FUSED: (Contender.FUSED,),
    EngineChoice.GATED: (Contender.GATED,),
    EngineChoice.BOTH: (Contender.FUSED, Contender.GATED),
}


def open_engines(subject: Subject, choice: EngineChoice) -> Mapping[Contender, Engine[Inputs]]:
    """Open the engines to time, on the file with its screen moved."""
    return {contender: _engine(subject, contender) for contender in _ENGINES[choice]}


def _engine(subject: Subject, contender: Contender) -> Engine[Inputs]:
    manifest, runner = subject.artifact.manifest, HostRunner()
    if contender is Contender.GATED:
        return GatedEngine(subject.model, manifest, open_session=subject.opener, runner=runner)
    return FusedEngine(bytes(subject.model.buffer), manifest, open_session=subject.opener, runner=runner)
