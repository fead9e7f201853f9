"""Observers as sessions call them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Policy
from nip_runtime.observe import Audit, AuditFile, Counters, DriftWatch, Expected, FlaggedRow, Learned, compose
from nip_runtime.result import Prediction, Reason
from nip_runtime.session import DefendedSession

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens"


def pixels(path: Path) -> NDArray[np.uint8]:
    with np.load(path.with_suffix(".npz")) as golden:
        images: NDArray[np.uint8] = golden["images"]
    return images


@pytest.fixture(params=[policy.value for policy in Policy])
def golden(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield GOLDENS / f"{request.param}.onnx"


def test_counts_are_those_of_the_predictions(golden: Path, tmp_path: Path) -> None:
    counters, watch, received = Counters(), DriftWatch(Learned()), list[FlaggedRow]()
    observer = compose(
        counters, watch, Audit(received.append), AuditFile(tmp_path / "flagged.jsonl", class_names=None)
    )
    with DefendedSession(golden, device="cpu", threads=1, observer=observer, max_batch=5) as session:
        answers = [session.predict(part) for part in np.array_split(pixels(golden), 3)]
    seen, every = counters.snapshot(), [reason for each in answers for reason in each.reason]
    assert [seen.of(reason) for reason in Reason] == [every.count(reason) for reason in Reason]
    flagged = np.concatenate([each.flagged for each in answers])
    assert 0 < flagged.sum() == seen.flagged == watch.state().flagged < seen.rows == watch.state().rows
    assert seen.calls == 3
    assert seen.latency.sum_s > 0
    assert [row.index for row in received] == np.flatnonzero(flagged).tolist()
    lines = (tmp_path / "flagged.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["index"] for line in lines] == np.flatnonzero(flagged).tolist()


def test_a_failing_observer_loses_no_answer(golden: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def observe(self, prediction: Prediction, *, duration_s: float) -> None:
            raise RuntimeError("broken")

    images = pixels(golden)
    with (
        DefendedSession(golden, device="cpu", threads=1) as plain,
        DefendedSession(golden, device="cpu", threads=1, observer=Failing()) as observed,
    ):
        assert plain.observer is None
        for _ in range(3):
            np.testing.assert_array_equal(observed.predict(images).logits, plain.predict(images).logits)
    assert len([record for record in caplog.records if "observer Failing failed" in record.message]) == 1


def test_calls_without_an_answer_are_counted_and_raise_as_ever() -> None:
    counters = Counters()
    images = pixels(GOLDENS / "guarded.onnx")
    floats = np.zeros((3, 1, *images.shape[1:3]), np.float32)
    floats[1, 0, 0, 0] = np.nan
    with DefendedSession(GOLDENS / "guarded.onnx", device="cpu", threads=1, observer=counters) as session:
        with pytest.raises(InputError, match="NaN in row 1"):
            session.predict(floats)
        assert counters.snapshot().rows == 0
        session.predict(floats, on_bad_row="skip")
    seen = counters.snapshot()
    assert seen.errors == (("InputError", 1),)
    assert (seen.rows, seen.refused, seen.calls) == (3, 1, 1)


def test_streams_are_observed_batch_by_batch() -> None:
    counters = Counters()
    images = pixels(GOLDENS / "detect.onnx")
    with DefendedSession(GOLDENS / "detect.onnx", device="cpu", threads=1, observer=counters) as session:
        answers = list(session.predict_stream(images, batch=4))
        assert session.observer is counters
    assert counters.snapshot().rows == len(answers) == len(images)
    assert counters.snapshot().calls == -(-len(images) // 4)


def test_tensors_are_not_observed_but_their_flags_can_be_handed_over() -> None:
    counters, watch = Counters(), DriftWatch(Expected(0.01, 0.03))
    images = pixels(GOLDENS / "guarded.onnx")
    tensor = np.ascontiguousarray(images.reshape(len(images), 1, *images.shape[1:3]), np.float32) / 255
    with DefendedSession(GOLDENS / "guarded.onnx", device="cpu", threads=1, observer=counters) as session:
        answers = session.predict_tensor(tensor)
    watch.see(np.from_dlpack(answers.flagged))
    assert counters.snapshot().calls == 0
    assert watch.state().rows == len(images)


def test_a_session_refuses_what_cannot_observe() -> None:
    for observer in (print, Counters):
        with pytest.raises(InputError, match="expected an observer"):
            DefendedSession(GOLDENS / "guarded.onnx", device="cpu", observer=observer)  # type: ignore[arg-type]


def loaded(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("observed", [False, True])
def test_who_wants_no_observer_does_not_load_any(observed: bool) -> None:
    arguments: dict[str, Any] = {"observer": "Counters()"} if observed else {}
    given = "".join(f", {name}={value}" for name, value in arguments.items())
    lines = [
        "import sys",
        "from nip_runtime import DefendedSession",
        "from nip_runtime.observe import Counters" if observed else "",
        f"DefendedSession('tests/goldens/guarded.onnx', device='cpu'{given})",
        "print(*sys.modules)",
    ]
    modules = loaded("\n".join(lines))
    assert ("nip_runtime.observe.counters" in modules) is observed
    assert "prometheus_client" not in modules
