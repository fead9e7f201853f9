"""One answer of the plain file, of each engine in each state, of each contender."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed.contenders import Kind, build, can_compile
from benchmarks.speed.files import SpeedFiles, expected
from benchmarks.speed.measure import ENGINES
from benchmarks.speed.networks import Images
from benchmarks.speed.rivals import TWINS, check_twin
from benchmarks.speed.sessions import open_defended, open_plain, plain_run
from benchmarks.speed.targets import State
from nip_runtime.file.manifest import Policy
from nip_runtime.run.engine.answers import EngineKind

T = TypeVar("T")
ROUNDS = 5
TOLERANCE = 1e-3
"""Largest difference from oracle or plain file, as a share of the largest logit."""


def timed(benchmark: BenchmarkFixture, run: Callable[[Images], T], images: Images) -> T:
    """What `run` answers, timed over some rounds."""
    answer: T = benchmark.pedantic(  # type: ignore[no-untyped-call]  # pytest-benchmark has no types here
        run, args=(images,), rounds=ROUNDS, warmup_rounds=1
    )
    return answer


def assert_close(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> None:
    limit = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)


@pytest.mark.parametrize("batch", [1, 4], ids="batch{}".format)
def test_plain(benchmark: BenchmarkFixture, files: SpeedFiles, batch: int) -> None:
    images = files.pool.batch(batch, 0)
    run = plain_run(open_plain(files.plain, threads=1))
    (logits,) = timed(benchmark, run, images)
    assert_close(logits, expected(files, Policy.GUARDED, images).raw)


@pytest.mark.parametrize("batch", [1, 4], ids="batch{}".format)
@pytest.mark.parametrize("state", [State.CALM, State.ALL, State.ALWAYS], ids=str)
@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_defended(
    benchmark: BenchmarkFixture, files: SpeedFiles, engine: EngineKind, state: State, batch: int
) -> None:
    policy = Policy.ALWAYS if state is State.ALWAYS else Policy.GUARDED
    images = files.pool.batch(batch, state.second_pass_rows(batch, files.screen_rate))
    with open_defended(files.path(policy), engine, threads=1) as session:
        found = timed(benchmark, session.predict, images)
    wanted = expected(files, policy, images)
    assert_close(found.raw_logits, wanted.raw)
    assert_close(found.logits, wanted.decision.logits)
    assert int(wanted.reading.screened.sum()) == state.second_pass_rows(batch, files.screen_rate)


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_contender(benchmark: BenchmarkFixture, files: SpeedFiles, kind: Kind) -> None:
    if kind is Kind.COMPILED_TWIN and not can_compile():
        pytest.skip("torch.compile needs a C++ compiler")
    torch.set_num_threads(1)
    images = files.pool.batch(1, 1)
    answer = build(kind, files, Policy.GUARDED, open_plain(files.plain, threads=1))
    scores = timed(benchmark, answer, images)
    assert scores.shape == (1, files.network.classes)
    assert np.isfinite(scores).all()
    if kind in TWINS:
        check_twin(kind, scores, expected(files, Policy.GUARDED, images).decision.logits)
