"""What is timed beside what, and in which order: on a real file, never looking at how long anything took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.operate.bench.plan import BenchPlan, EngineChoice
from nip_runtime.operate.bench.report import Contender
from nip_runtime.operate.bench.run import open_engines
from nip_runtime.operate.bench.shares import Inputs
from nip_runtime.operate.bench.subject import Subject, prepare
from nip_runtime.operate.bench.timing import LEAST_ROUNDS, lanes_of, time_all
from nip_runtime.run.engine.answers import Answers, Engine, EngineKind
from nip_runtime.run.runners import DeviceRunner


class Noting:
    """An engine that notes how many rows it was given, then runs the real one."""

    def __init__(self, inner: Engine[Inputs], ran: list[str]) -> None:
        self._inner, self._ran = inner, ran

    @property
    def kind(self) -> EngineKind:
        return self._inner.kind

    def run(self, inputs: Inputs, *, options: object = None) -> Answers[Inputs]:
        self._ran.append(f"{self.kind} {len(inputs)}")
        return self._inner.run(inputs, options=options)

    def warm(self, inputs: Inputs, *, options: object = None) -> None:
        self._inner.warm(inputs, options=options)


def _plan(path: Path, **changes: object) -> BenchPlan:
    fields = {"path": path, "device": "cpu", "threads": 1, "engine": EngineChoice.BOTH, "rounds": 4} | changes
    return BenchPlan(**fields)  # type: ignore[arg-type]


def _engines(subject: Subject, plan: BenchPlan) -> Mapping[Contender, Engine[Inputs]]:
    return {name: opened.engine for name, opened in open_engines(subject, plan.engine).items()}


def test_every_engine_meets_every_share_beside_the_plain_model(guarded: Path, plain_path: Path) -> None:
    plan = _plan(guarded, batches=(16,))
    subject = prepare(plan, plain_path)
    lanes = lanes_of(subject, _engines(subject, plan), 16, plan.shares)
    assert [lane.name for lane in lanes] == [
        "plain 0",
        *("fused 0", "fused 6", "fused 16"),  # 37 % of benign images: 6 of 16
        *("gated 0", "gated 6", "gated 16"),
    ]


def test_both_engines_answer_alike_on_the_moved_file(guarded: Path, plain_path: Path) -> None:
    plan = _plan(guarded, batches=(16,))
    subject = prepare(plan, plain_path)
    engines = _engines(subject, plan)
    inputs = subject.mixture.batch(16, 5)
    fused, gated = engines[Contender.FUSED].run(inputs), engines[Contender.GATED].run(inputs)
    assert np.array_equal(fused.logits, gated.logits)
    assert np.array_equal(fused.suspicion, gated.suspicion)


def test_tensors_that_stay_on_the_device_answer_like_arrays(guarded: Path, plain_path: Path) -> None:
    """The way of a GPU, here with the host's memory: bound inputs and outputs, for the plain model too."""
    plan = _plan(guarded, batches=(16,), engine=EngineChoice.FUSED)
    subject = prepare(plan, plain_path)
    inputs = subject.mixture.batch(16, 5)
    (expected,) = subject.run_plain(inputs)()
    answers = _engines(subject, plan)[Contender.FUSED].run(inputs)
    bound = replace(subject, opener=replace(subject.opener, runner=DeviceRunner(subject.opener.device)))
    (logits,) = bound.run_plain(inputs)()
    assert np.array_equal(bound.opener.runner.to_host(logits), expected)
    engine = _engines(bound, plan)[Contender.FUSED]
    assert np.array_equal(
        bound.opener.runner.to_host(bound.run_engine(engine, inputs)().logits), answers.logits
    )


def test_rounds_are_interleaved(guarded: Path, plain_path: Path) -> None:
    plan = _plan(guarded, batches=(2, 3), shares=(1.0,))
    subject = prepare(plan, plain_path)
    ran: list[str] = []
    engines = {name: Noting(engine, ran) for name, engine in _engines(subject, plan).items()}
    seen: list[tuple[str, int]] = []

    def progress(stage: str, total: int) -> object:
        seen.append((stage, total))
        return lambda amount: None

    timed = list(time_all(subject, engines, plan, progress))  # type: ignore[arg-type]
    assert seen == [("timing batch 2", 4), ("timing batch 3", 4)]
    for batch in (2, 3):
        own = [name for name in ran if name.endswith(f" {batch}")]
        measured = own[-8:]  # what came before it was warm-up
        for start in range(0, 8, 2):
            assert sorted(measured[start : start + 2]) == [f"fused {batch}", f"gated {batch}"]
        assert len({tuple(measured[start : start + 2]) for start in range(0, 8, 2)}) == 2
    assert [(one.contender, one.batch, one.second_pass_rows) for one in timed] == [
        (contender, batch, 0 if contender is Contender.PLAIN else batch)
        for batch in (2, 3)
        for contender in Contender
    ]
    assert all(one.latency.rounds == 4 for one in timed)


def test_ratios_are_to_the_plain_model_whatever_stands_last(guarded: Path, plain_path: Path) -> None:
    class Slow(Noting):
        def run(self, inputs: Inputs, *, options: object = None) -> Answers[Inputs]:
            time.sleep(0.05)  # a plain pass takes far less than a millisecond
            return super().run(inputs, options=options)

    plan = _plan(guarded, batches=(1,), shares=(1.0,))
    subject = prepare(plan, plain_path)
    engines: dict[Contender, Engine[Inputs]] = {
        name: Slow(engine, []) for name, engine in _engines(subject, plan).items()
    }
    plain, *slow = time_all(subject, engines, plan, lambda *_: lambda _: None)
    for one in slow:
        assert one.ratio is not None and one.ratio.median > 2
        assert one.latency.p50_ms >= 50 > plain.latency.p50_ms


@pytest.mark.parametrize(("rows", "passes"), [(0, 1.0), (4, 1.25), (16, 2.0)])
def test_passes_are_what_the_policy_states(rows: int, passes: float, guarded: Path, plain_path: Path) -> None:
    plan = _plan(guarded, batches=(16,), shares=(rows / 16,), engine=EngineChoice.FUSED)
    subject = prepare(plan, plain_path)
    plain, fused = time_all(subject, _engines(subject, plan), plan, lambda *_: lambda _: None)
    assert plain.passes_per_row == 1
    assert plain.ratio is None
    assert (fused.second_pass_rows, fused.passes_per_row) == (rows, passes)
    assert fused.ratio is not None and fused.ratio_per_pass is not None
    assert fused.ratio_per_pass.median == pytest.approx(fused.ratio.median / passes)
    assert fused.images_per_s == pytest.approx(16e3 / fused.latency.p50_ms)


def test_every_batch_size_gets_some_rounds_however_short_the_time(guarded: Path, plain_path: Path) -> None:
    plan = _plan(guarded, batches=(1, 2), rounds=None, seconds=1e-9, engine=EngineChoice.GATED)
    subject = prepare(plan, plain_path)
    timed = list(time_all(subject, _engines(subject, plan), plan, lambda *_: lambda _: None))
    assert {one.latency.rounds for one in timed} == {LEAST_ROUNDS}
