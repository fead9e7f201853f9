"""Whatever array comes, of any dtype, shape and strides: a Prediction or an InputError, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nip_runtime import DefendedSession, InputError, OnBadRow, Prediction
from tests.abuse.inputs.case import MAX_BATCH, difference
from tests.runtime.toy import SHAPE, write_toy

_QUICK = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
_DTYPES = st.one_of(
    hnp.scalar_dtypes(),
    hnp.byte_string_dtypes(),
    hnp.unicode_string_dtypes(),
    hnp.array_dtypes(),
    st.just(np.dtype(object)),
)
_SHAPES = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=5),
    st.integers(0, 3 * MAX_BATCH).map(lambda rows: (rows, *SHAPE)),
    st.integers(0, 3 * MAX_BATCH).map(lambda rows: (rows, *SHAPE[1:])),
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DefendedSession]:
    path = write_toy(tmp_path_factory.mktemp("toy"))
    with DefendedSession(path, device="cpu", threads=1, max_batch=MAX_BATCH) as session:
        yield session


def _ask(session: DefendedSession, images: NDArray[Any], way: OnBadRow) -> Prediction | None:
    try:
        prediction = session.predict(images, on_bad_row=way)
    except InputError as error:
        assert "; " in str(error)
        return None
    assert len(prediction) == len(images)
    return prediction


@_QUICK
@given(st.data(), st.sampled_from(OnBadRow))
def test_of_any_dtype_and_shape(session: DefendedSession, data: st.DataObject, way: OnBadRow) -> None:
    images = data.draw(hnp.arrays(data.draw(_DTYPES), data.draw(_SHAPES)))
    _ask(session, images, way)


@_QUICK
@given(
    st.sampled_from([np.float32, np.uint8]),
    st.booleans(),
    st.integers(0, 3),
    st.lists(st.integers(-64, 64), min_size=4, max_size=4),
    st.integers(0, 3 * MAX_BATCH),
    st.sampled_from(OnBadRow),
)
def test_of_any_strides_and_bits(
    session: DefendedSession,
    dtype: type[np.float32] | type[np.uint8],
    is_random: bool,
    offset: int,
    strides: list[int],
    rows: int,
    way: OnBadRow,
) -> None:
    """Views that overlap themselves, run backwards, stand still or are unaligned, over any bits at all."""
    rng = np.random.default_rng(rows)
    bits = rng.integers(0, 256, 16384, np.uint8) if is_random else rng.random(4096, np.float32).view(np.uint8)
    shape = (rows, *SHAPE) if dtype is np.float32 else (rows, *SHAPE[1:], 1)
    middle = bits[8192 + offset : 8196 + offset].view(dtype)  # no view reaches beyond the ends of the bits
    _ask(session, as_strided(middle, shape, strides), way)


@_QUICK
@given(st.data())
def test_good_rows_do_not_notice_bad_ones(session: DefendedSession, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 3 * MAX_BATCH))
    images = np.random.default_rng(rows).integers(0, 65, (rows, *SHAPE)).astype(np.float32) / 64
    bad = data.draw(st.sets(st.integers(0, rows - 1)))
    values = st.sampled_from([np.nan, np.inf, -np.inf, 255.0, -1e-45, float(np.nextafter(np.float32(1), 2))])
    for row in bad:
        images[row, 0, data.draw(st.integers(0, 3)), 2] = data.draw(values)
    prediction = _ask(session, images, OnBadRow.SKIP)
    assert prediction is not None
    assert [refused.row for refused in prediction.refused] == sorted(bad)
    good = [row for row in range(rows) if row not in bad]
    assert difference(prediction, session.predict(images[good]), good) is None
    assert (_ask(session, images, OnBadRow.RAISE) is None) == bool(bad)
