"""Inputs within bounds to which the model's own answer is NaN or Inf: nobody gets to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime import DefendedSession, InputError, Policy, Reason
from tests.abuse.inputs.case import difference
from tests.runtime import toy

HUGE = np.finfo(np.float32).max


def _bright_at(*places: int) -> NDArray[np.float32]:
    """One dim image, which the toy does not flag, with full pixels at these places."""
    image = np.zeros((1, 16), np.float32)
    image[0, list(places)] = 1
    return image.reshape(1, *toy.SHAPE)


INF, NAN, FINE = _bright_at(0, 1), _bright_at(0, 1, 2, 3), _bright_at(9)
IMAGES = np.concatenate([FINE, INF, FINE, NAN, _bright_at(0)])


@pytest.fixture(params=list(Policy))
def overflowing(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DefendedSession]:
    """The toy with weights of which two overflow when both are met; finite early evidence as ever."""
    weights = toy.WEIGHTS.copy()
    weights[:2], weights[2:4] = HUGE, -HUGE
    monkeypatch.setattr(toy, "WEIGHTS", weights)
    path = toy.write_toy(tmp_path, request.param)
    with DefendedSession(path, device="cpu", threads=1, max_batch=3) as session:
        yield session


def test_the_file_itself_does_not_flag_them(overflowing: DefendedSession) -> None:
    answers = overflowing.predict_tensor(IMAGES[:2])
    assert np.from_dlpack(answers.flagged).tolist() == [False, False]
    assert np.isfinite(np.from_dlpack(answers.raw_logits)).all(axis=1).tolist() == [True, False]


def test_such_rows_are_refused(overflowing: DefendedSession) -> None:
    prediction = overflowing.predict(IMAGES, on_bad_row="skip")
    refused = [row.row for row in prediction.refused]
    assert refused == [1, 3] or refused == [1]  # the order of the sums decides whether Inf - Inf is met
    for row in prediction.refused:
        assert row.why.startswith("expected finite logits, got NaN or Inf from values within bounds; leave ")
        assert prediction.labels[row.row] == prediction.raw_labels[row.row] == -1
        assert prediction.candidate[row.row] == -1
        assert np.isnan(prediction.logits[row.row]).all()
        assert np.isnan(prediction.suspicion[row.row])
        assert prediction.flagged[row.row]
        assert prediction.reason[row.row] is Reason.REFUSED
    good = [row for row in range(len(IMAGES)) if row not in refused]
    assert difference(prediction, overflowing.predict(IMAGES[good]), good) is None


def test_with_raise_they_are_an_error_that_names_the_row(overflowing: DefendedSession) -> None:
    with pytest.raises(
        InputError, match=r"expected finite logits, got NaN or Inf .* in row 1; leave the row out"
    ):
        overflowing.predict(IMAGES)
    with pytest.raises(InputError, match="in row 0"):
        overflowing.predict(INF)


def test_together_with_rows_that_are_refused_before_the_run(overflowing: DefendedSession) -> None:
    images = IMAGES.copy()
    images[0, 0, 0, 0] = np.nan
    prediction = overflowing.predict(images, on_bad_row="skip")
    assert [row.row for row in prediction.refused][:2] == [0, 1]
    assert "got NaN; drop" in prediction.refused[0].why
    assert "finite logits" in prediction.refused[1].why


def test_a_stream_reports_them_and_goes_on(overflowing: DefendedSession) -> None:
    answers = list(overflowing.predict_stream(list(IMAGES), on_error="yield"))
    assert [answer.error is None for answer in answers][:3] == [True, False, True]
    with pytest.raises(InputError, match="finite logits"):
        _ = answers[1].label
    with pytest.raises(InputError, match=r"^item 1: expected finite logits"):
        list(overflowing.predict_stream(list(IMAGES)))


def test_large_logits_are_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their products overflow; they themselves do not."""
    monkeypatch.setattr(toy, "WEIGHTS", toy.WEIGHTS * np.float32(1e30))
    with DefendedSession(toy.write_toy(tmp_path), device="cpu") as session:
        images = toy.random_images(7)
        prediction = session.predict(images)
    assert np.abs(prediction.raw_logits).max() > 1e29
    assert prediction.refused == ()
    assert Reason.REFUSED not in prediction.reason
