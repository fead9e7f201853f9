from __future__ import annotations

from contextlib import closing

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_runtime.session import DefendedSession
from nip_runtime.stream import predict_stream


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 90),
    failing=st.frozensets(st.integers(0, 89), max_size=5),
    stop_after=st.none() | st.integers(1, 90),
    batch=st.integers(1, 20),
    workers=st.integers(1, 3),
    runs=st.integers(1, 3),
    prefetch=st.integers(0, 2),
    flush_after_ms=st.sampled_from([None, 0, 0.5]),
)
def test_answers_are_complete_in_order_and_right(
    session: DefendedSession,
    images: NDArray[np.uint8],
    count: int,
    failing: frozenset[int],
    stop_after: int | None,
    batch: int,
    workers: int,
    runs: int,
    prefetch: int,
    flush_after_ms: float | None,
) -> None:
    expected = session.predict(images).labels.tolist()

    def decode(row: int) -> object:
        if row in failing:
            raise ValueError(row)
        return images[row % 48] if row % 7 else images[row % 48][..., None]

    stream = predict_stream(
        session.predict,
        range(count),
        decode=decode,
        batch=batch,
        workers=workers,
        runs=runs,
        prefetch=prefetch,
        flush_after_ms=flush_after_ms,
        on_error="yield",
    )
    taken = 0
    with closing(stream):
        for answer in stream:
            assert answer.index == answer.item == taken
            assert (answer.error is not None) == (taken in failing)
            assert answer.error is not None or answer.label == expected[taken % 48]
            taken += 1
            if taken == stop_after:
                break
    assert taken == min(count, stop_after or count)
