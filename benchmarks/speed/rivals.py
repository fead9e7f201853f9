"""The contenders beside the defended files, paired in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import numpy as np
import torch

from benchmarks.speed.contenders import Kind, build
from benchmarks.speed.files import SpeedFiles
from benchmarks.speed.measure import PLAIN, Effort, timed
from benchmarks.speed.results import Rival
from benchmarks.speed.sessions import open_defended, open_plain, plain_run
from benchmarks.speed.targets import State
from nip_export.support.progress import Progress
from nip_runtime.file.manifest import Policy
from nip_runtime.operate.bench.rounds import latency, ratio
from nip_runtime.run.engine.answers import EngineKind

BATCHES: Final = (1, 16)
LEAST_ROUNDS: Final = 3
ONLY_ALONE: Final = frozenset({Kind.SMOOTHING})
"""Sixteen passes per image at every batch size: measured at batch 1 alone."""
TWINS: Final = frozenset({Kind.EAGER_TWIN, Kind.COMPILED_TWIN})
FILE_STATES: Final = (State.ALWAYS, State.CALM, State.ALL)
TWIN_TOLERANCE: Final = 1e-3
"""Largest difference of a twin's logits from the file's, as a share of the largest."""


def lineup(kinds: Iterable[Kind], batch: int) -> list[tuple[Kind, Policy | None]]:
    """Who runs: the twins of both policies (compiled: of one, for compiling takes long), and the others."""
    found: list[tuple[Kind, Policy | None]] = []
    for kind in kinds:
        if kind is Kind.EAGER_TWIN:
            found += [(kind, Policy.ALWAYS), (kind, Policy.GUARDED)]
        elif kind is Kind.COMPILED_TWIN:
            found.append((kind, Policy.ALWAYS))
        elif batch == 1 or kind not in ONLY_ALONE:
            found.append((kind, None))
    return found


def states_of(policy: Policy | None) -> tuple[State, ...]:
    """What a contender is compared with: the file of its own policy; both where it is another defence."""
    if policy is None:
        return FILE_STATES
    return tuple(state for state in FILE_STATES if (state is State.ALWAYS) == (policy is Policy.ALWAYS))


def measure(
    files: SpeedFiles, effort: Effort, kinds: Iterable[Kind], progress: Progress
) -> tuple[Rival, ...]:
    """Time the contenders at batches 1 and 16 on one thread.

    Raises:
        RuntimeError: a twin does not answer as its file does.
    """
    torch.set_num_threads(1)
    kinds = tuple(kinds)
    session = open_plain(files.plain, threads=1)
    defended = {
        policy: open_defended(files.path(policy), EngineKind.AUTO, threads=1)
        for policy in (Policy.ALWAYS, Policy.GUARDED)
    }
    answers = {
        (kind, own): build(kind, files, own or Policy.GUARDED, session) for kind, own in lineup(kinds, 1)
    }
    found: list[Rival] = []
    for batch in BATCHES:
        images = {
            state: files.pool.batch(batch, state.second_pass_rows(batch, files.screen_rate))
            for state in FILE_STATES
        }
        cases: dict[str, Callable[[], object]] = {PLAIN: partial(plain_run(session), images[State.CALM])}
        for state in FILE_STATES:
            policy = Policy.ALWAYS if state is State.ALWAYS else Policy.GUARDED
            cases[state] = partial(defended[policy].predict, images[state])
        runners = lineup(kinds, batch)
        for kind, own in runners:
            answer = answers[kind, own]
            if own is not None:
                check_twin(kind, answer(images[State.ALL]), defended[own].predict(images[State.ALL]).logits)
            cases[f"{kind} {own}"] = partial(answer, images[State.ALL])
        times = timed(
            cases,
            seconds=2 * effort.few_seconds,
            least=min(LEAST_ROUNDS, effort.least_rounds),
            progress=progress,
            stage=f"{files.network.title}, contenders at batch {batch}",
        )
        for kind, own in runners:
            mine = times[f"{kind} {own}"]
            found.append(
                Rival(
                    kind=kind,
                    policy=own,
                    batch=batch,
                    latency=latency(mine),
                    to_plain=ratio(mine, times[PLAIN]),
                    speedup={state: ratio(mine, times[state]) for state in states_of(own)},
                )
            )
    return tuple(found)


def check_twin(kind: Kind, answer: np.ndarray, expected: np.ndarray) -> None:
    """Refuse to time something else than the same defence.

    Raises:
        RuntimeError: the logits differ by more than rounding.
    """
    limit = TWIN_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(answer - expected).max())
    if not difference <= limit:
        raise RuntimeError(f"{kind}: expected the file's logits within {limit:.1g}, got {difference:.3g}")
