from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nip_runtime import ArtifactError, InputError, Policy, Prediction, Reason
from nip_runtime.session import DefendedSession
from nip_runtime.support.dependencies import load, version_of
from tests.runtime.toy import CLASSES, Expected, oracle, pixels, random_images, vector_model, write_toy

SAME_BITS = (1, 22)
"""Before, onnxruntime's matrix products of other sizes round otherwise in the last bit."""


def assert_same(left: Prediction, right: Prediction) -> None:
    for field in fields(Prediction):
        np.testing.assert_array_equal(
            getattr(left, field.name), getattr(right, field.name), err_msg=field.name
        )


@pytest.mark.parametrize("policy", list(Policy))
def test_answers_by_definition(tmp_path: Path, policy: Policy) -> None:
    images = random_images(50)
    expected: Expected = oracle(images, policy)
    with DefendedSession(write_toy(tmp_path, policy), device="cpu") as session:
        result = session.predict(images)
    np.testing.assert_array_equal(result.logits, expected.logits)
    np.testing.assert_array_equal(result.raw_logits, expected.raw_logits)
    np.testing.assert_array_equal(result.suspicion, expected.suspicion)
    np.testing.assert_array_equal(result.flagged, expected.flagged)
    np.testing.assert_array_equal(result.candidate, expected.candidate)
    np.testing.assert_array_equal(result.labels, expected.logits.argmax(axis=1))
    np.testing.assert_array_equal(result.raw_labels, expected.raw_logits.argmax(axis=1))
    assert 0 < expected.flagged.sum() < len(result) == 50


@pytest.mark.parametrize("policy", list(Policy))
def test_gives_the_reason_of_every_row(tmp_path: Path, policy: Policy) -> None:
    with DefendedSession(write_toy(tmp_path, policy), device="cpu") as session:
        result = session.predict(random_images(200))
    seen = set()
    for row, reason in enumerate(result.reason):
        is_changed = result.labels[row] != result.raw_labels[row]
        is_flagged = bool(result.flagged[row])
        match policy:
            case Policy.DETECT:
                assert not is_changed
                assert reason is (Reason.DETECTED if is_flagged else Reason.PASSED)
            case Policy.ALWAYS:
                assert reason is (Reason.CORRECTED if is_changed else Reason.CONFIRMED)
            case Policy.GUARDED if not is_flagged:
                assert reason is Reason.PASSED
            case Policy.GUARDED:
                assert reason is (Reason.CORRECTED if is_changed else Reason.CONFIRMED)
        seen.add(reason)
    expected = {
        Policy.GUARDED: {Reason.PASSED, Reason.CORRECTED, Reason.CONFIRMED},
        Policy.ALWAYS: {Reason.CORRECTED, Reason.CONFIRMED},
        Policy.DETECT: {Reason.PASSED, Reason.DETECTED},
    }
    assert seen == expected[policy], "the toy no longer shows every case"


@pytest.mark.parametrize("count", [0, 1, 3, 17])
def test_shapes_and_dtypes(any_session: DefendedSession, count: int) -> None:
    result = any_session.predict(pixels(any_session, count))
    classes = any_session.manifest.output.classes
    assert len(result) == len(result.reason) == count
    for name, dtype, shape in (
        ("labels", np.int64, (count,)),
        ("logits", np.float32, (count, classes)),
        ("raw_labels", np.int64, (count,)),
        ("raw_logits", np.float32, (count, classes)),
        ("suspicion", np.float32, (count,)),
        ("flagged", np.bool_, (count,)),
        ("candidate", np.int64, (count,)),
    ):
        value = getattr(result, name)
        assert (value.dtype, value.shape) == (np.dtype(dtype), shape), name
    assert ((result.suspicion >= 0) & (result.suspicion <= 1)).all()
    assert ((result.candidate >= 0) & (result.candidate < classes)).all()


def test_unflagged_rows_keep_the_raw_logits(any_session: DefendedSession) -> None:
    result = any_session.predict(pixels(any_session, 40))
    if any_session.manifest.policy is Policy.ALWAYS:
        pytest.skip("policy always changes every row")
    rows = ~result.flagged if any_session.manifest.policy is Policy.GUARDED else slice(None)
    assert result.logits[rows].tobytes() == result.raw_logits[rows].tobytes()


def test_no_rows_do_not_run_the_graph(toy: DefendedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("ran")

    assert toy._opened is not None
    monkeypatch.setattr(toy._opened.engine, "run", refuse)
    with pytest.raises(AssertionError, match="ran"):
        toy.predict(np.zeros((1, 1, 4, 4), np.float32))
    assert len(toy.predict(np.zeros((0, 1, 4, 4), np.float32))) == 0
    assert len(toy.predict(np.zeros((0, 4, 4), np.uint8))) == 0


@pytest.mark.parametrize("max_batch", [1, 3, 16, 40, 256])
def test_splitting_changes_nothing(any_path: Path, any_session: DefendedSession, max_batch: int) -> None:
    images = pixels(any_session, 40)
    with DefendedSession(any_path, device="cpu", threads=1, max_batch=max_batch) as other:
        split, whole = other.predict(images), any_session.predict(images)
    if version_of(load("onnxruntime")) < SAME_BITS:
        np.testing.assert_array_equal(split.labels, whole.labels)
        np.testing.assert_array_equal(split.flagged, whole.flagged)
        np.testing.assert_allclose(split.suspicion, whole.suspicion, rtol=1e-4)
        return
    assert_same(split, whole)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 24), max_size=4), st.integers(0, 9))
def test_rows_do_not_see_each_other(toy: DefendedSession, cuts: list[int], seed: int) -> None:
    images = random_images(24, seed)
    whole = toy.predict(images)
    parts = [toy.predict(part) for part in np.split(images, sorted(cuts))]
    for field in fields(Prediction):
        joined = np.concatenate([np.asarray(getattr(part, field.name)) for part in parts])
        np.testing.assert_array_equal(joined, np.asarray(getattr(whole, field.name)), err_msg=field.name)


def test_never_runs_more_than_max_batch(toy_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DefendedSession(toy_path, device="cpu", max_batch=7) as session:
        assert session._opened is not None
        engine, sizes = session._opened.engine, list[int]()
        inner = engine.run

        def run(
            inputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]], *, options: object = None
        ) -> object:
            sizes.append(len(inputs))
            return inner(inputs, options=options)

        monkeypatch.setattr(engine, "run", run)
        session.predict(random_images(20))
    assert sizes == [7, 7, 6]


def test_pixels_and_floats_agree(any_session: DefendedSession) -> None:
    images = pixels(any_session, 9)
    floats = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    assert_same(any_session.predict(images), any_session.predict(floats))
    assert_same(any_session.predict(images[::-1]), any_session.predict(floats[::-1]))


def test_rank_2_inputs_work(tmp_path: Path) -> None:
    path = tmp_path / "vector.onnx"
    path.write_bytes(vector_model())
    with DefendedSession(path, device="cpu") as session:
        images = random_images(12)
        result = session.predict(images.reshape(12, 16))
        np.testing.assert_array_equal(result.logits, oracle(images).logits)
        with pytest.raises(InputError, match=r"expected float32 \(N, 16\) within \[-1, 1\], got dtype uint8"):
            session.predict(np.zeros((2, 16), np.uint8))


def test_several_threads_may_share_a_session(any_session: DefendedSession) -> None:
    batches = [pixels(any_session, 5 + n, seed=n) for n in range(12)]
    expected = [any_session.predict(batch) for batch in batches]
    barrier = threading.Barrier(4)

    def work(worker: int) -> list[Prediction]:
        barrier.wait()
        return [any_session.predict(batch) for batch in batches[worker:] + batches[:worker]]

    with ThreadPoolExecutor(4) as pool:
        for worker, results in enumerate(pool.map(work, range(4))):
            for left, right in zip(results, expected[worker:] + expected[:worker], strict=True):
                assert_same(left, right)


def test_a_pickled_session_reopens(any_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(any_path.parent)
    with DefendedSession(any_path.name, device="cpu", threads=1, max_batch=5) as session:
        images = pixels(session, 12)
        data = pickle.dumps(session)
        monkeypatch.chdir(tmp_path)  # another process may stand elsewhere
        with pickle.loads(data) as copy:
            assert_same(copy.predict(images), session.predict(images))
            assert (copy.path, copy.device, copy.manifest) == (session.path, "cpu", session.manifest)
            assert copy._max_batch == 5


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_file_opens_from_its_bytes(any_path: Path, kind: Callable[[bytes], Any]) -> None:
    content = any_path.read_bytes()
    given = kind(content)
    with (
        DefendedSession(given, device="cpu", threads=1) as session,
        DefendedSession(any_path, device="cpu", threads=1) as filed,
    ):
        if isinstance(given, bytearray):
            given[:] = bytes(len(given))  # what the caller does with it later is no matter
        images = pixels(session, 5)
        assert session.path is None
        assert "<bytes>" in repr(session)
        assert_same(session.predict(images), filed.predict(images))
        with pickle.loads(pickle.dumps(session)) as copy:
            assert_same(copy.predict(images), filed.predict(images))


def test_damaged_bytes_are_refused_as_a_damaged_file_is(toy_path: Path) -> None:
    content = bytearray(toy_path.read_bytes())
    content[len(content) // 2] ^= 1
    for broken in (bytes(content), bytes(content[:100]), b""):
        with pytest.raises(ArtifactError, match="<bytes>"):
            DefendedSession(broken, device="cpu")


@pytest.mark.parametrize("given", [None, 3, ["model.onnx"], io.BytesIO(b"")])
def test_what_is_neither_path_nor_bytes_is_refused(given: object) -> None:
    with pytest.raises(InputError, match="expected the path of a file, or its bytes, got "):
        DefendedSession(given)  # type: ignore[arg-type]


def test_a_closed_session_says_so(toy_path: Path) -> None:
    session = DefendedSession(toy_path, device="cpu")
    session.close()
    session.close()
    with pytest.raises(InputError, match="expected an open session, got a closed one"):
        session.predict(random_images(1))


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "4"])
@pytest.mark.parametrize("name", ["max_batch", "threads"])
def test_refuses_bad_options(toy_path: Path, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"expected {name} of at least 1, got "):
        DefendedSession(toy_path, **{name: value})  # type: ignore[arg-type]


def test_says_what_it_opened(toy: DefendedSession, toy_path: Path) -> None:
    assert toy.device == "cpu"
    assert toy.path == toy_path
    assert toy.manifest.output.classes == CLASSES
    assert repr(toy) == f"DefendedSession({str(toy_path)!r}, device='cpu')"


def test_bad_images_are_refused_by_predict(toy: DefendedSession) -> None:
    images = random_images(300)
    images[299, 0, 3, 3] = np.nan  # beyond the first batch: the row still counts from the start
    with pytest.raises(InputError, match="NaN in row 299"):
        toy.predict(images)


def test_a_prediction_refuses_ragged_columns(toy: DefendedSession) -> None:
    result = toy.predict(random_images(3))
    columns = {field.name: getattr(result, field.name) for field in fields(Prediction)}
    with pytest.raises(ValueError, match=r"^flagged: expected 3 rows"):
        Prediction(**{**columns, "flagged": result.flagged[:2]})


_GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.mark.parametrize("npz", sorted(_GOLDENS.glob("*.npz")), ids=lambda path: path.stem)
def test_golden_answers(npz: Path) -> None:
    """The arrays beside ``images`` are what the exporter's twin answered, named as in Prediction."""
    with (
        np.load(npz) as golden,
        DefendedSession(npz.with_suffix(".onnx"), device="cpu", threads=1) as session,
    ):
        result = session.predict(golden["images"])
        columns = [field.name for field in fields(Prediction) if field.name in golden.files]
        assert {"logits", "raw_logits", "suspicion", "flagged", "candidate"} <= set(columns)
        compare: Callable[..., None]
        for name in columns:
            is_float = golden[name].dtype.kind == "f"
            compare = np.testing.assert_allclose if is_float else np.testing.assert_array_equal
            tolerance = {"rtol": 0, "atol": 1e-4 * np.abs(golden[name]).max()} if is_float else {}
            compare(getattr(result, name), golden[name], **tolerance, err_msg=name)
