from __future__ import annotations

import re

import pytest

from nip_runtime.errors import InputError
from nip_runtime.run.batch_sizes import bucket, buckets


def test_a_sub_batch_is_padded_to_the_next_power_of_two() -> None:
    assert [bucket(rows, 16) for rows in (1, 2, 3, 4, 5, 8, 9, 16)] == [1, 2, 4, 4, 8, 8, 16, 16]


def test_padding_never_exceeds_the_largest_run() -> None:
    assert [bucket(rows, 100) for rows in (63, 64, 65, 100)] == [64, 64, 100, 100]


@pytest.mark.parametrize("max_rows", [1, 2, 3, 7, 8, 64, 100, 257])
def test_the_buckets_to_warm_are_exactly_those_that_padding_answers(max_rows: int) -> None:
    assert buckets(max_rows) == tuple(sorted({bucket(rows, max_rows) for rows in range(1, max_rows + 1)}))


@pytest.mark.parametrize("rows", [0, -1, 17])
def test_a_run_that_has_no_bucket_is_refused(rows: int) -> None:
    with pytest.raises(InputError, match=re.escape(f"expected 1 to 16 rows in one run, got {rows}; leave")):
        bucket(rows, 16)


@pytest.mark.parametrize("max_rows", [0, -4])
def test_there_is_nothing_to_warm_without_rows(max_rows: int) -> None:
    with pytest.raises(InputError, match="at least 1 row in one run"):
        buckets(max_rows)
