from __future__ import annotations

import itertools
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.result import Prediction
from nip_runtime.session import DefendedSession
from nip_runtime.stream import image_reader, predict_stream


@pytest.mark.parametrize(
    ("batch", "workers", "runs", "prefetch"), [(1, 1, 1, 0), (7, 2, 1, 1), (16, 3, 2, 2), (99, 1, 3, 0)]
)
def test_every_item_gets_the_answer_that_predict_gives(
    any_session: DefendedSession,
    images: NDArray[np.uint8],
    batch: int,
    workers: int,
    runs: int,
    prefetch: int,
) -> None:
    expected = any_session.predict(images)
    answers = list(
        predict_stream(
            any_session.predict,
            range(len(images)),
            decode=lambda row: images[row],
            batch=batch,
            workers=workers,
            runs=runs,
            prefetch=prefetch,
        )
    )
    assert [answer.index for answer in answers] == [answer.item for answer in answers] == list(range(48))
    assert [answer.label for answer in answers] == expected.labels.tolist()
    assert [answer.raw_label for answer in answers] == expected.raw_labels.tolist()
    assert [answer.suspicion for answer in answers] == expected.suspicion.tolist()
    assert [answer.flagged for answer in answers] == expected.flagged.tolist()
    assert [answer.candidate for answer in answers] == expected.candidate.tolist()
    assert tuple(answer.reason for answer in answers) == expected.reason
    np.testing.assert_array_equal([answer.logits for answer in answers], expected.logits)
    np.testing.assert_array_equal([answer.raw_logits for answer in answers], expected.raw_logits)
    assert all(answer.error is None for answer in answers)


def test_images_need_no_decoder(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    answers = list(predict_stream(session.predict, images, batch=10))
    assert [answer.label for answer in answers] == session.predict(images).labels.tolist()
    assert np.shares_memory(answers[47].item, images)


def test_an_empty_source_has_no_answers(session: DefendedSession) -> None:
    assert list(predict_stream(session.predict, iter(()))) == []


def test_dtypes_and_shapes_may_be_mixed(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    floats = images[:, None].astype(np.float32) / 255
    mixed = [[image, image[:, :, None], floats[row]][row // 3 % 3] for row, image in enumerate(images)]
    sizes: list[int] = []

    def predict(stack: NDArray[Any]) -> Prediction:
        sizes.append(len(stack))
        return session.predict(stack)

    answers = list(predict_stream(predict, mixed, batch=16, runs=1))
    assert [answer.label for answer in answers] == session.predict(images).labels.tolist()
    assert sizes == [3] * 16


def test_an_endless_source_is_fine(session: DefendedSession, images: NDArray[np.uint8]) -> None:
    stream = predict_stream(session.predict, itertools.cycle(images), batch=8)
    labels = [answer.label for answer in itertools.islice(stream, 100)]
    stream.close()
    assert labels == np.resize(session.predict(images).labels, 100).tolist()


def test_image_files_are_read_like_nip_predict_reads_them(
    session: DefendedSession, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    for row, image in enumerate(images[:5]):
        assert cv2.imwrite(str(tmp_path / f"{row}.png"), image)
    np.save(tmp_path / "5.npy", images[5:6])
    paths = sorted(tmp_path.iterdir())
    read = image_reader(session.manifest.input)
    items = [*paths[:-1], str(paths[-1]), images[6]]
    answers = list(predict_stream(session.predict, items, decode=read, batch=4))
    assert [answer.item for answer in answers[:6]] == items[:6]
    assert [answer.label for answer in answers] == session.predict(images[:7]).labels.tolist()


def test_an_array_file_with_several_items_is_refused(session: DefendedSession, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.zeros((2, 28, 28), np.uint8))
    read = image_reader(session.manifest.input)
    with pytest.raises(
        InputError, match=r"item 0: expected one item in .*two\.npy, got 2; pass the rows of the array"
    ):
        next(predict_stream(session.predict, [tmp_path / "two.npy"], decode=read))


def test_a_session_streams_paths_and_arrays_by_itself(
    session: DefendedSession, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    assert cv2.imwrite(str(tmp_path / "0.png"), images[0])
    with closing(session.predict_stream([tmp_path / "0.png", *images[1:9]], batch=4)) as stream:
        assert [answer.label for answer in stream] == session.predict(images[:9]).labels.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 0}, "expected batch of at least 1, got 0; pass a whole number"),
        ({"workers": True}, "expected workers of at least 1, got True"),
        ({"runs": 1.5}, "expected runs of at least 1, got 1.5"),
        ({"prefetch": -1}, "expected prefetch of at least 0, got -1"),
        ({"flush_after_ms": -1.0}, "expected flush_after_ms of 0 or more milliseconds, got -1.0"),
        ({"flush_after_ms": "5"}, "expected flush_after_ms of 0 or more milliseconds, got '5'"),
        ({"flush_after_ms": float("nan")}, "expected flush_after_ms of 0 or more milliseconds, got nan"),
        ({"on_error": "skip"}, "expected on_error raise or yield, got 'skip'; name one of these"),
    ],
)
def test_wrong_settings_are_refused_at_once(
    session: DefendedSession, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        predict_stream(session.predict, [], **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("items", ["photos", b"photos", Path("photos")])
def test_a_path_is_not_taken_for_a_list_of_items(session: DefendedSession, items: object) -> None:
    with pytest.raises(InputError, match=r"expected an iterable of items, got .*; list the files"):
        predict_stream(session.predict, items)  # type: ignore[arg-type]
