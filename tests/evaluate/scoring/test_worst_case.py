from __future__ import annotations

import numpy as np
import pytest

from nip_evaluate.scoring import Outcome, worst_case, worst_cases
from nip_evaluate.terms.results import WorstCase
from nip_evaluate.terms.threats import Norm, Threat
from nip_runtime.errors import InputError
from nip_runtime.file.rates import Rate
from tests.evaluate.scoring.made import answers, case, outcome

GRAY, TRANSFER, QUERY, ADAPTIVE = Threat

FIRST = outcome(case("a"), raw=[0, 0, 0, 1, 1], right=[1, 1, 0, 1, 1])
SECOND = outcome(case("b"), raw=[1, 0, 0, 1, 1], right=[0, 1, 1, 1, 1])
QUERIES = outcome(case("q", threat=QUERY), raw=[1, 1, 1, 0], right=[1, 1, 1, 0])
TWIN = outcome(case("t", threat=ADAPTIVE), raw=[1, 1, 1, 1], right=[1, 0, 1, 1])


def test_every_image_must_survive_every_attack_of_the_group() -> None:
    found = {case.threats: case for case in worst_case([FIRST, SECOND, QUERIES, TWIN])}
    alone, elsewhere, headline = (
        found[threats] for threats in ((GRAY,), (GRAY, QUERY), (GRAY, QUERY, ADAPTIVE))
    )
    assert set(found) - {(QUERY,), (ADAPTIVE,)} == {alone.threats, elsewhere.threats, headline.threats}
    # Rights of both gray-box attacks: 1, 3, 4 of five.
    assert alone == WorstCase(
        threats=(GRAY,), epsilon=None, attacks=2, undefended=Rate(2, 5), defended=Rate(3, 5)
    )
    # The query attack saw four images and takes the last of those.
    assert elsewhere == WorstCase(
        threats=(GRAY, QUERY), epsilon=None, attacks=3, undefended=Rate(0, 4), defended=Rate(1, 4)
    )
    assert headline == WorstCase(
        threats=(GRAY, QUERY, ADAPTIVE), epsilon=None, attacks=4, undefended=Rate(0, 4), defended=Rate(0, 4)
    )


def test_an_image_that_is_wrong_as_it_is_does_not_count_as_right() -> None:
    lucky = outcome(case(), raw=[1, 1], right=[1, 1], raw_before=[0, 1], before=[1, 0])
    (one,) = worst_case([lucky])
    assert (one.undefended, one.defended) == (Rate(1, 2), Rate(1, 2))


def test_groups_without_attacks_of_their_own_are_left_out() -> None:
    assert [w.threats for w in worst_case([FIRST, SECOND])] == [(GRAY,)]
    assert [w.threats for w in worst_case([TWIN])] == [(ADAPTIVE,)]
    assert [w.threats for w in worst_case([FIRST, TWIN])] == [(GRAY,), (ADAPTIVE,), (GRAY, ADAPTIVE)]
    assert worst_case([]) == ()


def test_attacks_on_other_images_are_refused() -> None:
    other = Outcome(case("c"), np.zeros(2, np.int64), answers([0, 0], [0, 0]), answers([0, 0], [0, 0]))
    with pytest.raises(InputError, match="same images in the same order"):
        worst_case([FIRST, other])


def test_attacks_beyond_the_size_do_not_count() -> None:
    small = outcome(case("s", epsilon=4 / 255), raw=[1, 0], right=[1, 1])
    large = outcome(case("l", epsilon=16 / 255), raw=[0, 0], right=[1, 0])
    l2 = outcome(case("2", epsilon=1 / 255, norm=Norm.L2), raw=[0, 0], right=[0, 0])
    (within,) = worst_case([small, large, l2], epsilon=8 / 255)
    assert (within.epsilon, within.attacks, within.defended) == (8 / 255, 1, Rate(2, 2))
    (every,) = worst_case([small, large, l2])
    assert (every.epsilon, every.attacks, every.defended) == (None, 3, Rate(0, 2))


def test_sizes_are_those_of_the_adaptive_attacks() -> None:
    twins = [
        outcome(case(f"t{size}", threat=ADAPTIVE, epsilon=size / 255), raw=[1], right=[1]) for size in (25, 4)
    ]
    sizes = [
        found.epsilon
        for found in worst_cases([outcome(case("g", epsilon=2 / 255), raw=[1], right=[1]), *twins])
    ]
    assert sizes == [4 / 255] * 3 + [25 / 255] * 3 + [None] * 3
    assert [
        found.epsilon for found in worst_cases([outcome(case("g", epsilon=2 / 255), raw=[1], right=[1])])
    ] == [
        8 / 255,
        None,
    ]
