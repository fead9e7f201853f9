"""Values that nobody checked: tensors in place, and arrays that are written to while they are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime import DefendedSession, InputError, OnBadRow, Prediction
from tests.abuse.inputs.case import difference, plain_floats

GOLDENS = Path(__file__).parents[2] / "goldens"


@pytest.fixture(params=["guarded", "always", "detect"])
def session(request: pytest.FixtureRequest) -> Iterator[DefendedSession]:
    with DefendedSession(GOLDENS / f"{request.param}.onnx", device="cpu", threads=1) as session:
        yield session


@pytest.mark.parametrize("engine", ["fused", "gated"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_bad_rows_of_a_tensor_cost_the_others_nothing(
    session: DefendedSession, engine: str, value: float
) -> None:
    assert session.path is not None
    with DefendedSession(session.path, device="cpu", engine=engine, threads=1) as asked:
        images = plain_floats(session.manifest.input, 7)
        good = asked.predict_tensor(images)
        spoiled = images.copy()
        spoiled[2].flat[::3] = value
        spoiled[6] = value
        answers = asked.predict_tensor(spoiled)
        others = [0, 1, 3, 4, 5]
        for mine, theirs in zip(answers.values, good.values, strict=True):
            left, right = np.from_dlpack(mine)[others], np.from_dlpack(theirs)[others]
            assert left.tobytes() == right.tobytes()


def test_rows_written_to_meanwhile_change_no_others(session: DefendedSession) -> None:
    """Another thread flips rows between good and bad values as fast as it can."""
    images = plain_floats(session.manifest.input, 12)
    stable = [0, 1, 4, 5, 6, 7, 8, 11]
    alone = session.predict(images[stable])
    written = [2, 3, 9, 10]
    kept = images[written].copy()
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            for value in (np.nan, np.inf, 300.0, -0.5):
                images[written] = value
                images[written] = kept

    writer = threading.Thread(target=write)
    writer.start()
    try:
        answered = [_ask(session, images, way) for _ in range(150) for way in OnBadRow]
    finally:
        done.set()
        writer.join()
    predictions = [prediction for prediction in answered if prediction is not None]
    assert len(predictions) >= 150
    for prediction in predictions:
        refused = {row.row for row in prediction.refused}
        assert refused <= set(written)
        assert difference(prediction, alone, stable) is None
        assert np.isfinite(prediction.logits[[row for row in range(12) if row not in refused]]).all()
    assert any(prediction.refused for prediction in predictions), "the writer was never met"


def _ask(session: DefendedSession, images: NDArray[np.float32], way: OnBadRow) -> Prediction | None:
    try:
        return session.predict(images, on_bad_row=way)
    except InputError:
        return None
