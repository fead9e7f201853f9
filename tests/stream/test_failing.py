from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.result import Prediction
from nip_runtime.session import DefendedSession
from nip_runtime.stream import predict_stream
from tests.abuse.inputs.kinds import Breaking, Convertible, Pretender
from tests.abuse.inputs.rows import overriding

Decode = Callable[[int], object]


def failing_at(rows: set[int], images: NDArray[np.uint8], error: BaseException | None = None) -> Decode:
    def decode(row: int) -> object:
        if row in rows:
            raise InputError(f"nothing at {row}") if error is None else error
        return images[row]

    return decode


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_what_came_before_a_failed_item_is_answered_then_its_error_is_raised(
    session: DefendedSession, images: NDArray[np.uint8], batch: int
) -> None:
    stream = predict_stream(session.predict, range(48), decode=failing_at({5, 9}, images), batch=batch)
    assert [next(stream).label for _ in range(5)] == session.predict(images[:5]).labels.tolist()
    with pytest.raises(InputError, match=r"^item 5: nothing at 5$") as caught:
        next(stream)
    assert str(caught.value.__cause__) == "nothing at 5"
    assert str(pickle.loads(pickle.dumps(caught.value))) == "item 5: nothing at 5"
    assert next(stream, None) is None


def test_an_error_that_is_not_ours_is_raised_as_it_is_with_a_note(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    error = ZeroDivisionError("from the decoder")
    with pytest.raises(ZeroDivisionError, match="from the decoder") as caught:
        list(predict_stream(session.predict, range(48), decode=failing_at({3}, images, error)))
    assert caught.value is error
    assert "item 3 of the stream" in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_failed_items_can_be_handed_out_in_their_place(
    session: DefendedSession, images: NDArray[np.uint8], batch: int
) -> None:
    expected = session.predict(images).labels.tolist()
    failing = {0, 5, 6, 7, 8, 9, 47}
    stream = predict_stream(
        session.predict, range(48), decode=failing_at(failing, images), batch=batch, on_error="yield"
    )
    answers = list(stream)
    assert [answer.item for answer in answers] == list(range(48))
    for answer in answers:
        if answer.item in failing:
            assert str(answer.error) == f"nothing at {answer.item}"
            with pytest.raises(InputError, match=f"^nothing at {answer.item}$"):
                _ = answer.label
        else:
            assert answer.label == expected[answer.item]


def test_a_stream_may_hold_nothing_but_failures(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    decode = failing_at(set(range(48)), images)
    answers = list(predict_stream(session.predict, range(48), decode=decode, batch=4, on_error="yield"))
    assert [str(answer.error) for answer in answers] == [f"nothing at {row}" for row in range(48)]


def test_an_image_that_the_model_refuses_costs_its_neighbours_nothing(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    floats = (images[:, None] / 255).astype(np.float32)
    floats[6, 0, 3, 3] = np.nan
    answers = list(predict_stream(session.predict, floats, batch=16, on_error="yield"))
    expected = session.predict(images).labels.tolist()
    assert [answer.index for answer in answers if answer.error is not None] == [6]
    assert [answer.label for answer in answers if answer.error is None] == expected[:6] + expected[7:]
    with pytest.raises(InputError, match="NaN"):
        _ = answers[6].suspicion
    with pytest.raises(InputError, match=r"^item 6: expected uint8 .* got NaN in row 0; drop or repair"):
        list(predict_stream(session.predict, floats, batch=16))


@pytest.mark.parametrize(
    "item", ["boot.png", None, [[0, 1]], np.ma.MaskedArray(np.zeros((28, 28), np.uint8))]
)
def test_an_item_that_is_no_image_is_refused_in_our_words(session: DefendedSession, item: object) -> None:
    with pytest.raises(InputError, match=r"^item 0: expected one image as a plain numpy array .*decode="):
        list(predict_stream(session.predict, [item]))


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_a_hostile_object_is_one_items_error(
    session: DefendedSession, images: NDArray[np.uint8], batch: int
) -> None:
    items: list[object] = list(images)
    items[3], items[7], items[8] = Pretender(), Breaking(), Convertible()
    items[20] = np.broadcast_to(np.uint8(0), (2**20, 2**20, 2**20))
    items[30] = np.empty((28, 28), object)
    answers = list(session.predict_stream(items, batch=batch, on_error="yield"))
    assert [answer.index for answer in answers if answer.error is not None] == [3, 7, 8, 20, 30]
    assert all(isinstance(answer.error, InputError) for answer in answers if answer.error is not None)
    expected = session.predict(images).labels
    assert all(answer.label == expected[answer.index] for answer in answers if answer.error is None)


def test_a_subclass_that_lies_is_taken_as_what_it_holds(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    floats = list((images[:, None] / np.float32(255)).astype(np.float32))
    items = [overriding(image) if index % 5 == 0 else image for index, image in enumerate(floats)]
    answers = list(session.predict_stream(items, batch=8))
    assert [answer.label for answer in answers] == session.predict(images).labels.tolist()


@pytest.mark.parametrize("on_error", ["raise", "yield"])
def test_what_the_source_raises_comes_after_the_items_before_it(
    session: DefendedSession, images: NDArray[np.uint8], on_error: str
) -> None:
    def source() -> Iterator[NDArray[np.uint8]]:
        yield from images[:6]
        raise OSError("the camera is gone")

    labels: list[int] = []
    with pytest.raises(OSError, match="the camera is gone"):
        for answer in predict_stream(session.predict, source(), batch=4, on_error=on_error):
            labels.append(answer.label)
    assert labels == session.predict(images[:6]).labels.tolist()


def test_a_decoder_that_wants_to_end_the_program_is_heard(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    with pytest.raises(SystemExit, match="3"):
        list(predict_stream(session.predict, range(48), decode=failing_at({9}, images, SystemExit(3))))


def test_a_predictor_that_answers_another_number_of_rows_is_caught(
    session: DefendedSession, images: NDArray[np.uint8]
) -> None:
    def predict(stack: NDArray[Any]) -> Prediction:
        return session.predict(images[:3])

    with pytest.raises(ValueError, match=r"predict: expected one row per image \(1\), got 3"):
        list(predict_stream(predict, images, batch=8))


def test_a_closed_session_is_the_first_items_error(
    images: NDArray[np.uint8], session: DefendedSession
) -> None:
    assert session.path is not None
    with DefendedSession(session.path, device="cpu", threads=1) as closed:
        pass
    with pytest.raises(InputError, match=r"^item 0: expected an open session"):
        list(predict_stream(closed.predict, images))
