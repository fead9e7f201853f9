"""Both engines give the same answers, bit for bit, whatever the batch, and auto says why it took which."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread, active_count, current_thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_runtime import DefendedSession
from nip_runtime.errors import DeviceError, InputError
from nip_runtime.file import names
from nip_runtime.file.artifact import read_artifact
from nip_runtime.run.batch_sizes import buckets
from nip_runtime.run.engine import choose
from nip_runtime.run.engine.answers import Answers, EngineKind
from nip_runtime.run.engine.choose import open_engine
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.fused import FusedEngine
from nip_runtime.run.engine.gated import GatedEngine
from nip_runtime.run.providers import Device, DeviceKind, SessionSettings, open_session
from nip_runtime.run.runners import HostRunner
from tests.engine.test_cut import NAMES, golden

CPU = Device(DeviceKind.CPU)
ONE_THREAD = SessionSettings(threads=1)
Floats = NDArray[np.float32]


def opener(model: bytes) -> Any:
    return open_session(model, CPU, settings=ONE_THREAD)


class Counting(HostRunner):
    """The real runner, noting how many rows the backbone saw."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, session: Any, outputs: Any, inputs: Any, *, options: Any = None) -> list[NDArray[Any]]:
        if set(inputs) == {"input"}:
            self.rows.append(len(inputs["input"]))
        return super().run(session, outputs, inputs, options=options)


@dataclass(frozen=True)
class Pair:
    fused: FusedEngine[Any]
    gated: GatedEngine[Any]
    runner: Counting
    images: Floats
    screened: NDArray[np.bool_]


def pair(name: str, *, padded: bool) -> Pair:
    path, images = golden(name)
    model, manifest, runner = Sliceable(path.read_bytes()), read_artifact(path).manifest, Counting()
    gated = GatedEngine(
        model, manifest, open_backbone=opener, open_heads=opener, runner=runner, padded=padded
    )
    screened = np.ones(len(images), np.bool_)
    if not name.startswith("always"):
        look = opener(model.part(["input"], [names.SCREENED]))
        screened = look.run(None, {"input": images})[0].ravel()
    fused = FusedEngine(path.read_bytes(), manifest, open_session=opener, runner=HostRunner())
    return Pair(fused, gated, runner, images, screened)


@pytest.fixture(scope="module")
def pairs() -> dict[tuple[str, bool], Pair]:
    return {(p, padded): pair(p, padded=padded) for p in NAMES for padded in (False, True)}


def assert_equal(got: Answers[Any], expected: Answers[Any]) -> None:
    for one, other in zip(got.values, expected.values, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 24))
def test_engines_agree_bit_for_bit(
    pairs: dict[tuple[str, bool], Pair], name: str, padded: bool, seed: int, rows: int
) -> None:
    case = pairs[name, padded]
    batch = np.random.default_rng(seed).choice(case.images, rows)
    assert_equal(case.gated.run(batch), case.fused.run(batch))


def opened_beside(open_backbone: Callable[[bytes], Any], open_heads: Callable[[bytes], Any]) -> Pair:
    case = pair("guarded", padded=False)
    path, _ = golden("guarded")
    engine = GatedEngine(
        Sliceable(path.read_bytes()),
        read_artifact(path).manifest,
        open_backbone=open_backbone,
        open_heads=open_heads,
        runner=HostRunner(),
        beside=True,
    )
    return replace(case, gated=engine)


def test_parts_that_are_opened_beside_each_other_answer_alike() -> None:
    threads = list[Thread]()

    def heads(model: bytes) -> Any:
        threads.append(current_thread())
        return opener(model)

    case = opened_beside(opener, heads)
    assert_equal(case.gated.run(case.images), case.fused.run(case.images))
    assert len(threads) == 2 and current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("broken", ["open_backbone", "open_heads"])
def test_what_stops_one_of_them_is_told(broken: str) -> None:
    def stop(model: bytes) -> Any:
        raise MemoryError("no room for it")

    before = active_count()
    with pytest.raises(MemoryError, match="no room for it"):
        opened_beside(**{"open_backbone": opener, "open_heads": opener, broken: stop})
    assert active_count() == before, "nothing goes on"


def test_where_no_thread_is_to_be_had_they_are_opened_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", none)
        case = opened_beside(opener, opener)
    assert_equal(case.gated.run(case.images), case.fused.run(case.images))


def test_a_file_is_opened_while_the_interpreter_ends() -> None:
    path, _ = golden("guarded")
    code = (
        "import atexit, sys\n"
        "from nip_runtime import DefendedSession\n"
        "atexit.register(lambda: print(DefendedSession(sys.argv[1], device='cpu', engine='gated').engine))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("gated\n", "")


def test_only_picked_rows_take_the_second_pass(pairs: dict[tuple[str, bool], Pair]) -> None:
    case = pairs["guarded", False]
    calm, picked = case.images[~case.screened], case.images[case.screened]
    assert len(calm) >= 8 and len(picked) >= 5
    for batch, expected in (
        (calm[:8], [8]),
        (np.concatenate([calm[:8], picked[:5]]), [13, 5]),
        (picked[:1], [1, 1]),
    ):
        case.runner.rows.clear()
        case.gated.run(batch)
        assert case.runner.rows == expected


def test_padded_passes_have_few_sizes_and_are_never_empty(pairs: dict[tuple[str, bool], Pair]) -> None:
    case = pairs["guarded", True]
    calm, picked = np.repeat(case.images[~case.screened], 2, axis=0), case.images[case.screened]
    assert len(calm) >= 15 and len(picked) >= 5
    case.runner.rows.clear()
    for count in range(1, 6):
        case.gated.run(np.concatenate([calm[: 16 - count], picked[:count]]))
    assert case.runner.rows == [16, 1, 16, 2, 16, 4, 16, 4, 16, 8]
    assert set(case.runner.rows) <= set(buckets(16))


def test_warming_runs_both_passes(pairs: dict[tuple[str, bool], Pair]) -> None:
    case = pairs["guarded", True]
    case.runner.rows.clear()
    case.gated.warm(case.images[~case.screened][:6])
    assert case.runner.rows == [6, 6]


@pytest.fixture
def open_auto() -> Callable[..., DefendedSession]:
    return lambda path: DefendedSession(path, device="cpu", threads=1)


def test_auto_says_why(open_auto: Callable[..., DefendedSession], monkeypatch: pytest.MonkeyPatch) -> None:
    path, images = golden("guarded")
    monkeypatch.setattr(choose, "TINY_PASS_US", 1e9)
    with open_auto(path) as quick:
        assert quick.engine == "fused"
        assert "where further calls would cost more" in quick.engine_why
        expected = quick.predict(images)
    monkeypatch.setattr(choose, "TINY_PASS_US", 0.6)  # of work the file states 0.54 µs
    with open_auto(path) as measured:
        assert measured.engine == "gated"
        assert "the weights are held once" in measured.engine_why
        assert "on any CPU" not in measured.engine_why
    monkeypatch.setattr(choose, "TINY_PASS_US", 0.5)
    with open_auto(path) as slow:
        assert slow.engine == "gated"
        assert "on any CPU: rows that need only one cost least" in slow.engine_why
        np.testing.assert_array_equal(slow.predict(images).logits, expected.logits)
    with open_auto(golden("always")[0]) as always:
        assert always.engine == "gated"


def test_auto_logs_its_choice(
    open_auto: Callable[..., DefendedSession], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="nip_runtime"), open_auto(golden("guarded")[0]) as session:
        assert f"engine {session.engine}: {session.engine_why}" in caplog.text


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InputError, match="expected engine auto, fused, gated, got 'both'"):
        DefendedSession(golden("guarded")[0], device="cpu", engine="both")


def test_a_graph_of_changing_shape_is_not_captured() -> None:
    path, _ = golden("guarded")
    with pytest.raises(DeviceError, match="take engine gated, or leave cuda_graph out"):
        open_engine(
            EngineKind.FUSED,
            Sliceable(path.read_bytes()),
            read_artifact(path).manifest,
            device=CPU,
            settings=SessionSettings(cuda_graph=True),
            runner=HostRunner(),
        )


@pytest.mark.parametrize("engine", ["fused", "gated"])
@pytest.mark.parametrize("name", NAMES)
def test_tensors_are_taken_where_they_are(name: str, engine: str) -> None:
    path, images = golden(name)
    with DefendedSession(path, device="cpu", engine=engine, threads=1, max_batch=64) as session:
        expected = session.predict(images)
        answers = session.predict_tensor(images)
        np.testing.assert_array_equal(np.from_dlpack(answers.logits), expected.logits)
        np.testing.assert_array_equal(np.from_dlpack(answers.flagged), expected.flagged)
        with pytest.raises(InputError, match="1 to 64 rows"):
            session.predict_tensor(np.zeros((65, 1, 28, 28), np.float32))
        with pytest.raises(InputError, match=r"float32 \(N, 1, 28, 28\)"):
            session.predict_tensor(np.zeros((2, 1, 28, 27), np.float32))


def test_a_session_warms_up_and_gives_memory_back() -> None:
    path, images = golden("guarded")
    with DefendedSession(path, device="cpu", threads=1, max_batch=8) as session:
        session.warmup()
        session.warmup([1, 8])
        with pytest.raises(InputError, match="1 to 8 rows"):
            session.warmup([9])
        before = session.predict(images)
        session.release_memory()
        np.testing.assert_array_equal(session.predict(images).logits, before.logits)
    with pytest.raises(InputError, match="an open session"):
        session.warmup()


def test_a_session_streams_files_and_arrays(tmp_path: Path) -> None:
    path, images = golden("guarded")
    np.save(tmp_path / "one.npy", images[:1])
    with DefendedSession(path, device="cpu", threads=1) as session:
        expected = session.predict(images)
        answers = list(session.predict_stream([tmp_path / "one.npy", *images], batch=5))
        assert [a.label for a in answers] == [int(expected.labels[0]), *expected.labels.tolist()]
        assert [a.reason for a in answers[1:]] == list(expected.reason)


def test_arrays_of_a_prediction_are_the_callers(pairs: dict[tuple[str, bool], Pair]) -> None:
    case = pairs["guarded", False]
    with DefendedSession(golden("guarded")[0], device="cpu", engine="gated", threads=1) as session:
        prediction = session.predict(case.images[~case.screened][:3])
    prediction.logits[:] = 0
    prediction.labels[:] = -1
    assert np.abs(prediction.raw_logits).max() > 0
    assert prediction.raw_labels.min() >= 0
