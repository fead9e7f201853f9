"""More rows than one run takes cost the memory of their answers and of one run, not of all rows."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.inputs.arrays import OnBadRow
from nip_runtime.session import DefendedSession
from tests.abuse.inputs.case import MAX_BATCH, plain_floats

MODEL = Path(__file__).parents[2] / "goldens" / "guarded.onnx"
ROWS = 4000


@pytest.mark.parametrize("bad", [(), (0,), (17, 3000, 3999)])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_memory_is_that_of_the_answers(bad: tuple[int, ...], layout: str) -> None:
    with DefendedSession(MODEL, device="cpu", threads=1, max_batch=MAX_BATCH) as session:
        row = plain_floats(session.manifest.input, 1)
        images = (
            np.repeat(row, ROWS, axis=0) if layout == "C" else np.asfortranarray(np.repeat(row, ROWS, axis=0))
        )
        images[list(bad)] = np.nan
        session.predict(images[: 2 * MAX_BATCH], on_bad_row=OnBadRow.SKIP)
        tracemalloc.start()
        try:
            prediction = session.predict(images, on_bad_row=OnBadRow.SKIP)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        alone = session.predict(row)
    assert len(prediction) == ROWS
    assert [refused.row for refused in prediction.refused] == list(bad)
    good = np.setdiff1d(np.arange(ROWS), bad)
    assert (prediction.logits[good] == alone.logits).all()
    assert peak_bytes < images.nbytes / 6
