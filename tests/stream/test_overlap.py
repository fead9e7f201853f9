"""What happens at the same time, shown with barriers and events: no clock decides whether these pass."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nip_runtime.result import Prediction
from nip_runtime.session import DefendedSession
from nip_runtime.stream import predict_stream

PATIENCE_S = 20.0
GOLDEN = Path(__file__).parents[1] / "goldens" / "guarded.onnx"


def pipeline_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("nip-")}


def test_decoding_goes_on_while_the_model_runs(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE_S)

    def decode(row: int) -> object:
        if row == 4:  # of the second batch
            meeting.wait()
        return images[row]

    def predict(stack: NDArray[np.uint8]) -> Prediction:
        if np.array_equal(stack[0], images[0]):
            meeting.wait()
        return session.predict(stack)

    answers = list(predict_stream(predict, range(8), decode=decode, batch=4, runs=1, workers=1))
    assert [answer.label for answer in answers] == session.predict(images[:8]).labels.tolist()


def test_as_many_items_are_decoded_at_once_as_there_are_workers(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE_S)

    def decode(row: int) -> object:
        meeting.wait()
        return images[row]

    assert len(list(predict_stream(session.predict, range(6), decode=decode, batch=6, workers=3))) == 6


def test_two_runs_overlap_and_their_answers_stay_in_order(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE_S)
    second_is_done = threading.Event()

    def predict(stack: NDArray[np.uint8]) -> Prediction:
        meeting.wait()
        if np.array_equal(stack[0], images[0]):
            assert second_is_done.wait(PATIENCE_S)
            return session.predict(stack)
        prediction = session.predict(stack)
        second_is_done.set()
        return prediction

    answers = list(predict_stream(predict, images[:8], batch=4, runs=2))
    assert [answer.label for answer in answers] == session.predict(images[:8]).labels.tolist()


def test_a_slow_source_is_not_held_back_for_a_full_batch(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    for flush_after_ms in (0.0, 20.0):
        is_answered = threading.Event()

        def camera(is_answered: threading.Event = is_answered) -> Iterator[NDArray[np.uint8]]:
            yield from images[:3]
            assert is_answered.wait(PATIENCE_S)
            yield images[3]

        stream = predict_stream(session.predict, camera(), batch=16, flush_after_ms=flush_after_ms)
        labels = [next(stream).label for _ in range(3)]
        is_answered.set()
        labels += [answer.label for answer in stream]
        assert labels == session.predict(images[:4]).labels.tolist()


def test_whatever_is_there_is_run_together_once_a_run_is_free(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    all_are_read = threading.Event()
    sizes: list[int] = []

    def source() -> Iterator[NDArray[np.uint8]]:
        yield from images[:10]
        all_are_read.set()

    def predict(stack: NDArray[np.uint8]) -> Prediction:
        assert all_are_read.wait(PATIENCE_S)
        sizes.append(len(stack))
        return session.predict(stack)

    answers = list(predict_stream(predict, source(), batch=16, runs=1, flush_after_ms=0))
    assert [answer.index for answer in answers] == list(range(10))
    assert len(sizes) <= 2  # what was there at first, and all that came meanwhile


def test_a_slow_consumer_slows_the_source_down(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    bound = 4 * (1 + 2 + 1)
    is_full = threading.Event()
    taken = 0

    def source() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            if taken == bound + 1:
                is_full.set()
            yield images[taken % 48]

    with closing(predict_stream(session.predict, source(), batch=4, runs=2, prefetch=1)) as stream:
        next(stream)
        assert is_full.wait(PATIENCE_S)
        threading.Event().wait(0.1)  # time to take too many
        assert taken == bound + 1  # one is with the consumer


def test_decoded_images_are_let_go_of(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    lock = threading.Lock()
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def decode(row: int) -> object:
        nonlocal alive, most
        image = images[row % 48].copy()
        with lock:
            alive += 1
            most = max(most, alive)
        weakref.finalize(image, gone)
        return image

    answers = list(predict_stream(session.predict, range(300), decode=decode, batch=4, runs=1, prefetch=1))
    assert len(answers) == 300
    assert most <= 4 * (1 + 1 + 1)
    assert alive == 0


def test_nothing_starts_before_the_first_answer_is_asked_for(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    stream = predict_stream(session.predict, images)
    assert pipeline_threads() == set()
    next(stream)
    assert {"nip-reader-0", "nip-runner-0", "nip-runner-1"} >= pipeline_threads()
    stream.close()
    assert pipeline_threads() == set()


def test_a_loop_that_is_left_early_ends_the_stream(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    taken = 0

    def source() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield images[taken % 48]

    for answer in predict_stream(session.predict, source(), batch=4):
        if answer.index == 5:
            break
    assert pipeline_threads() == set()
    assert taken <= 6 + 4 * (1 + 2 + 1)


def test_closing_does_not_start_what_is_waiting(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    """Ten items wait for their decoder when the stream is closed: one is in progress, and stays the last."""
    is_closing, is_second_in_progress = threading.Event(), threading.Event()
    started: list[int] = []

    def decode(row: int) -> object:
        started.append(row)
        if row == 1:
            is_second_in_progress.set()
            assert is_closing.wait(PATIENCE_S)
        return images[row]

    stream = predict_stream(
        session.predict, range(48), decode=decode, batch=1, workers=1, prefetch=10, runs=1
    )
    next(stream)
    assert is_second_in_progress.wait(PATIENCE_S)
    threading.Timer(0.1, is_closing.set).start()
    stream.close()
    assert started == [0, 1]


def test_a_stream_that_nobody_closes_does_not_hold_up_the_end_of_the_process() -> None:
    program = f"""
import itertools, numpy as np
from nip_runtime.session import DefendedSession
from nip_runtime.stream import predict_stream
session = DefendedSession({str(GOLDEN)!r}, device="cpu", threads=1)
image = np.zeros((28, 28), np.uint8)
kept = predict_stream(session.predict, itertools.repeat(image), decode=lambda image: image)
print(next(kept).index)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
