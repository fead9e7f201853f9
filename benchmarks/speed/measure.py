"""The timings of one network: every engine and state paired with one plain pass, in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.files import SpeedFiles
from benchmarks.speed.results import Cell, Overhead, PlainCell
from benchmarks.speed.sessions import Session, open_defended, open_plain, plain_run
from benchmarks.speed.targets import State
from nip_export.support.progress import Progress
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import HYPOTHESIS, PERTURBED, RAW_LOGITS
from nip_runtime.operate.bench.overhead import measure_overhead
from nip_runtime.operate.bench.rounds import Spread, latency, paired, ratio, rounds_within
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.providers import SessionSettings
from nip_runtime.session import DefendedSession

ENGINES: Final = (EngineKind.FUSED, EngineKind.GATED)
PLAIN: Final = "plain"
MOST_ROUNDS: Final = 200
SHORT_ROUND_S: Final = 1.0
WARM_UP: Final = 3
TOLERANCE: Final = 1e-4
"""Largest difference of raw logits from the plain file's, as a share of the largest logit."""

Times = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: per batch size of the table.
        least_rounds: that every case gets, however long a round takes.
        overhead_calls: of predict, to see what it adds.
        few_seconds: for everything else that is timed.
        openings: fresh processes per file that tell memory and opening time.
        batches: of the table.
        profiled_batches: at which onnxruntime's profiler looks.
    """

    seconds: Mapping[int, float] = field(default_factory=lambda: {1: 15.0, 16: 40.0, 64: 90.0})
    least_rounds: int = 5
    overhead_calls: int = 100
    few_seconds: float = 12.0
    openings: int = 3
    batches: tuple[int, ...] = (1, 16, 64)
    profiled_batches: tuple[int, ...] = (1, 16)


QUICK: Final = Effort(
    seconds={1: 2.0, 16: 4.0},
    least_rounds=2,
    few_seconds=2.0,
    openings=1,
    batches=(1, 16),
    profiled_batches=(1,),
)


def timed(
    cases: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    least: int,
    progress: Progress,
    stage: str,
) -> Times:
    """Paired times of as many rounds as fit into `seconds`, after one long round of warm-up or three."""
    first = paired(cases, rounds=1, warmup=0)
    round_s = float(sum(times[0] for times in first.values()))
    if round_s < SHORT_ROUND_S:
        first = paired(cases, rounds=1, warmup=WARM_UP - 1)
        round_s = float(sum(times[0] for times in first.values()))
    rounds = rounds_within(seconds, round_s, least=least, most=MOST_ROUNDS)
    return paired(cases, rounds=rounds, warmup=0, advance=progress(stage, rounds))


def check_raw(files: SpeedFiles, plain: Session, sessions: Sequence[DefendedSession]) -> None:
    """Refuse to time a file whose raw logits are not the plain file's.

    Raises:
        RuntimeError: they differ by more than rounding.
    """
    images = files.pool.batch(2, 1)
    expected = plain_run(plain)(images)[0]
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    for session in sessions:
        difference = float(np.abs(session.predict(images).raw_logits - expected).max())
        if not difference <= limit:
            raise RuntimeError(
                f"{files.network.title}: expected the plain file's logits within {limit:.1g}, "
                f"got {difference:.3g}"
            )


def table(
    files: SpeedFiles,
    effort: Effort,
    progress: Progress,
    *,
    threads: int = 1,
    batches: Sequence[int] | None = None,
) -> tuple[tuple[PlainCell, ...], tuple[Cell, ...]]:
    """Time all states and engines at every batch size.

    Raises:
        RuntimeError: a file does not compute the plain file's raw logits.
    """
    plain = open_plain(files.plain, threads=threads)
    sessions = {
        (policy, engine): open_defended(files.path(policy), engine, threads=threads)
        for policy in (Policy.ALWAYS, Policy.GUARDED)
        for engine in ENGINES
    }
    check_raw(files, plain, list(sessions.values()))
    plains, cells = [], []
    for batch in batches or effort.batches:
        cases: dict[str, Callable[[], object]] = {}
        calm = files.pool.batch(batch, 0)
        cases[PLAIN] = partial(plain_run(plain), calm)
        keys: list[tuple[State, EngineKind]] = []
        screened: dict[State, int] = {}
        for state in State:
            if not state.timed_at(batch):
                continue
            screened[state] = state.second_pass_rows(batch, files.screen_rate)
            images = calm if state is State.ALWAYS else files.pool.batch(batch, screened[state])
            policy = Policy.ALWAYS if state is State.ALWAYS else Policy.GUARDED
            for engine in ENGINES:
                cases[f"{state} {engine}"] = partial(sessions[policy, engine].predict, images)
                keys.append((state, engine))
        times = timed(
            cases,
            seconds=effort.seconds[batch] if threads == 1 else effort.few_seconds,
            least=effort.least_rounds,
            progress=progress,
            stage=f"{files.network.title}, batch {batch}, {threads} thread{'s' * (threads > 1)}",
        )
        plains.append(PlainCell(batch=batch, threads=threads, latency=latency(times[PLAIN])))
        cells += [
            Cell(
                batch=batch,
                threads=threads,
                state=state,
                engine=engine,
                second_pass_rows=screened[state],
                ratio=ratio(times[f"{state} {engine}"], times[PLAIN]),
                latency=latency(times[f"{state} {engine}"]),
            )
            for state, engine in keys
        ]
    return tuple(plains), tuple(cells)


def overhead(files: SpeedFiles, effort: Effort, progress: Progress) -> Overhead:
    """What ``predict`` adds to the ``session.run`` inside it, one calm row, one thread."""
    image = files.pool.batch(1, 0)
    found = measure_overhead(
        files.path(Policy.GUARDED),
        image,
        settings=SessionSettings(threads=1),
        rounds=effort.overhead_calls,
        progress=progress,
    )
    return Overhead(added_us=found.added_us, input_bytes=image.nbytes)


def bank_share(files: SpeedFiles, effort: Effort, progress: Progress, *, batch: int = 16) -> Spread:
    """Looking up each row's perturbation and adding it, as a share of a plain pass of the same batch."""
    content = Sliceable(files.path(Policy.ALWAYS).read_bytes())
    adding = open_plain(content.part(["input", HYPOTHESIS], [PERTURBED]), threads=1)
    plain = open_plain(content.part(["input"], [RAW_LOGITS]), threads=1)
    images = files.pool.batch(batch, 0)
    classes = np.arange(batch, dtype=np.int64) * 37 % files.network.classes
    times = timed(
        {
            "adding": lambda: adding.run(None, {"input": images, HYPOTHESIS: classes}),
            PLAIN: lambda: plain.run(None, {"input": images}),
        },
        seconds=effort.few_seconds,
        least=effort.least_rounds,
        progress=progress,
        stage=f"{files.network.title}, the bank alone",
    )
    return ratio(times["adding"], times[PLAIN])
