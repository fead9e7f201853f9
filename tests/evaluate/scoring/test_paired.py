from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_evaluate.scoring import cost, mcnemar
from nip_evaluate.terms.results import PairedTest
from nip_runtime.errors import InputError

Bools = NDArray[np.bool_]


def table(both: int, first: int, second: int, neither: int) -> tuple[Bools, Bools]:
    counts = [both, first, second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


_tables = st.tuples(*[st.integers(0, 40)] * 4).filter(any)


def test_mcnemar_by_hand() -> None:
    # Of 8 that differ, 1 or fewer on one side, twice: 2 · (1 + 8) / 2⁸.
    assert mcnemar(*table(1, 1, 7, 12)) == PairedTest(only_first=1, only_second=7, p_value=18 / 256)
    assert mcnemar(*table(5, 3, 3, 5)).p_value == 1
    assert mcnemar(*table(5, 0, 0, 5)) == PairedTest(only_first=0, only_second=0, p_value=1.0)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe 1998
        ((1, 1, 7, 12), -0.507, -0.026),  # Bentur et al. 2009, in Fagerland et al. 2014
        ((59, 6, 16, 80), -0.1186, -0.0046),  # Cavo et al. 2012, in Fagerland et al. 2014
    ],
)
def test_cost_agrees_with_the_published_examples(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    estimate = cost(*table(*counts))
    assert estimate.value == (counts[1] - counts[2]) / sum(counts)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-4)
    assert estimate.n == sum(counts)


@pytest.mark.parametrize("counts", [(1000, 0, 0, 0), (900, 0, 0, 100)])
def test_no_difference_in_a_thousand_images_leaves_room_for_a_small_one(
    counts: tuple[int, int, int, int],
) -> None:
    estimate = cost(*table(*counts))
    assert estimate.value == 0
    assert -0.005 < estimate.low < -0.001
    assert 0.001 < estimate.high < 0.005


@given(_tables)
def test_intervals_hold_the_value_and_change_sides(counts: tuple[int, int, int, int]) -> None:
    first, second = table(*counts)
    forth, back = cost(first, second), cost(second, first)
    assert -1 <= forth.low <= forth.value <= forth.high <= 1
    assert forth.low < forth.high
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low))


@given(_tables)
def test_p_values_are_symmetric(counts: tuple[int, int, int, int]) -> None:
    first, second = table(*counts)
    assert mcnemar(first, second).p_value == pytest.approx(mcnemar(second, first).p_value)
    assert 0 < mcnemar(first, second).p_value <= 1


def test_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="got 2 and 3"):
        mcnemar(np.ones(2, bool), np.ones(3, bool))
    with pytest.raises(InputError, match="got 3 and 2"):
        cost(np.ones(3, bool), np.ones(2, bool))
