from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nip_runtime.file.rates import Rate


def test_interval_matches_wilsons_published_form() -> None:
    # By hand, z = 1.96: (8 + 1.9208 ± 1.96 √(8·2/10 + 0.9604)) / (10 + 3.8416)
    low, high = Rate(8, 10).interval
    assert low == pytest.approx(0.4902, abs=1e-4)
    assert high == pytest.approx(0.9433, abs=1e-4)


def test_none_of_twenty_is_not_certainly_zero() -> None:
    assert Rate(0, 20).interval == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert Rate(20, 20).interval == pytest.approx((0.8389, 1.0), abs=1e-4)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_value_and_mirrors(pair: tuple[int, int]) -> None:
    count, n = pair
    rate = Rate(count, n)
    low, high = rate.interval
    assert 0 <= low <= rate.value <= high <= 1
    assert Rate(n - count, n).interval == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("count", "n", "field"), [(0, 0, "n"), (-1, 5, "count"), (6, 5, "count")])
def test_refuses_impossible_counts(count: int, n: int, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: expected"):
        Rate(count, n)


def test_reads_well() -> None:
    assert str(Rate(1, 2)) == "50.0% [9.5%, 90.5%] (1/2)"
