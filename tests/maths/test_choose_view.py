"""Which view is chosen, on passes made up so that one of them is plainly best."""

from __future__ import annotations

import pytest

from nip_export.calibrate import ViewTrial
from nip_export.calibrate.view import (
    CALM_KEPT,
    ENOUGH_KEPT,
    LEAST_KEPT,
    LEAST_MISTAKES,
    LEAST_REPAIRED,
    NEARLY,
    _near_best,
)
from nip_export.defence.views import View
from nip_runtime.file.manifest import ViewStep
from nip_runtime.file.rates import Rate
from tests.maths.second_looks import MEDIAN, MIRROR, SHIFT, Effect, World


def test_the_view_under_which_mistakes_are_told_and_repaired_is_taken_though_others_are_stronger() -> None:
    world = World(
        {
            (MIRROR, False): Effect(strength=0.9),
            (MEDIAN, False): Effect(repairs=0.9, strength=0.2),
            (SHIFT, False): Effect(repairs=0.2, strength=0.7),
        }
    )
    chosen, tried = world.choose([(), MIRROR, MEDIAN, SHIFT])
    assert chosen.view == MEDIAN and not chosen.rho and chosen.name == "median"
    assert [trial.view for trial in tried] == [MIRROR, MEDIAN, SHIFT], "the input itself is no view"
    assert chosen in tried
    assert chosen.repaired is not None
    assert chosen.told > 0.9 and chosen.repaired.value > 0.85
    assert all(trial.worth < NEARLY * chosen.worth for trial in tried if trial is not chosen)


def test_of_views_worth_nearly_as_much_the_strongest_is_taken() -> None:
    effects = {
        (MIRROR, False): Effect(repairs=0.9, strength=0.3),
        (MEDIAN, False): Effect(repairs=0.8, strength=0.5),
        (SHIFT, False): Effect(repairs=0.5, strength=0.9),
    }
    assert World(effects).choose([MIRROR, MEDIAN, SHIFT])[0].view == MEDIAN


def test_a_view_under_which_right_answers_are_lost_is_refused_whatever_it_is_worth() -> None:
    effects = {
        (MIRROR, False): Effect(repairs=1.0, loses=1 - LEAST_KEPT + 0.1, strength=0.9),
        (MEDIAN, False): Effect(repairs=0.3, strength=0.2),
    }
    chosen, (mirror, median) = World(effects).choose([MIRROR, MEDIAN])
    assert mirror.kept.value < LEAST_KEPT <= median.kept.value
    assert mirror.worth > median.worth
    assert chosen is median


@pytest.mark.parametrize("restless", [3.0, 2.5], ids=["many lost", "few lost"])
def test_where_the_best_view_loses_many_right_answers_one_that_shows_attacks_is_taken(
    restless: float,
) -> None:
    """Whatever mistakes say: behind a view that moves every benign answer attacks hide."""
    gain: View = (ViewStep.GAIN,)
    effects = {
        (MIRROR, False): Effect(repairs=0.9, loses=0.05, strength=0.9, restless=restless),
        (MEDIAN, False): Effect(repairs=0.2, strength=0.2),
        (SHIFT, False): Effect(repairs=0.9, loses=0.05, strength=0.8, restless=restless),
        (gain, False): Effect(repairs=0.1, strength=0.4),
    }
    chosen, tried = World(effects).choose([MIRROR, MEDIAN, SHIFT], gentle=[gain])
    mirror, median = tried[:2]
    assert mirror.noticed is not None and median.noticed is not None
    assert mirror.noticed.value < NEARLY * median.noticed.value and mirror.worth > median.worth
    if restless == 3:
        assert LEAST_KEPT <= mirror.kept.value < ENOUGH_KEPT
        assert chosen.view == gain, "it shows as much as the median, and is stronger"
    else:
        assert mirror.kept.value >= ENOUGH_KEPT
        assert chosen is mirror and gain not in [one.view for one in tried]


def test_if_no_view_keeps_enough_the_one_that_keeps_most_is_taken() -> None:
    effects = {
        (MIRROR, False): Effect(repairs=1.0, loses=0.9),
        (MEDIAN, False): Effect(loses=0.5),
        (SHIFT, False): Effect(repairs=0.5, loses=0.7),
    }
    assert World(effects).choose([MIRROR, MEDIAN, SHIFT])[0].view == MEDIAN


@pytest.mark.parametrize(
    ("wrong", "taken"), [(LEAST_MISTAKES - 1, SHIFT), (LEAST_MISTAKES, MEDIAN), (0, SHIFT)]
)
def test_with_few_mistakes_the_strongest_view_that_keeps_nine_of_ten_is_taken(
    wrong: int, taken: View
) -> None:
    world = World(
        {
            (MIRROR, False): Effect(loses=1 - CALM_KEPT + 0.03, strength=0.9, restless=0.3),
            (SHIFT, False): Effect(strength=0.5, restless=0.3),
            (MEDIAN, False): Effect(repairs=1.0, strength=0.2, restless=0.3),
        },
        wrong=wrong,
    )
    chosen, (mirror, _, _) = world.choose([MIRROR, SHIFT, MEDIAN])
    assert LEAST_KEPT < mirror.kept.value < CALM_KEPT
    assert chosen.view == taken
    if wrong:
        assert chosen.repaired is not None and chosen.repaired.n == wrong
    else:
        assert (chosen.told, chosen.repaired, chosen.worth) == (0.5, None, 0), "nothing to tell"


@pytest.mark.parametrize("wrong", [0, LEAST_MISTAKES - 1, LEAST_MISTAKES])
def test_with_few_mistakes_a_view_that_hides_a_quarter_of_the_way_back_is_left_out(wrong: int) -> None:
    """The predicted class's logit lies 8 above the others: a quarter of the way is a rise of 4. So it is with
    mistakes of which hardly any is repaired, as among a thousand classes."""
    effects = {
        (MIRROR, False): Effect(strength=0.9, restless=2.0),
        (SHIFT, False): Effect(strength=0.5, restless=0.3),
        (MEDIAN, False): Effect(strength=0.2, restless=0.1),
    }
    chosen, (mirror, shift, median) = World(effects, wrong=wrong).choose([MIRROR, SHIFT, MEDIAN])
    assert mirror.kept.value > CALM_KEPT
    assert all(trial.noticed is not None for trial in (mirror, shift, median))
    assert mirror.noticed and shift.noticed and median.noticed
    assert mirror.noticed.value < NEARLY * shift.noticed.value
    assert shift.noticed.value > 0.9 and median.noticed.value > 0.9
    assert chosen is shift, "the strongest of those that notice it"
    repaired = [trial.repaired.count for trial in (mirror, shift, median) if trial.repaired is not None]
    assert max(repaired, default=0) < LEAST_REPAIRED


def trial(kept: Rate, *, repaired: Rate | None = None, noticed: Rate | None = None) -> ViewTrial:
    return ViewTrial(MIRROR, False, kept, 0.9, repaired, 0.3, noticed)


@pytest.mark.parametrize("most", [100, 90, 50])
def test_without_mistakes_four_fifths_of_what_the_best_view_notices_are_enough(most: int) -> None:
    calm, enough = Rate(95, 100), NEARLY * most / 100
    best, near, far = (
        trial(calm, noticed=Rate(noticed, 1000))
        for noticed in (10 * most, round(1000 * enough) + 5, round(1000 * enough) - 5)
    )
    unknown = trial(calm)
    assert _near_best([far, near, best, unknown]) == [near, best, unknown]


def test_a_view_that_keeps_just_enough_right_answers_counts() -> None:
    repaired = Rate(30, 100)
    at, below = trial(Rate(7, 10), repaired=repaired), trial(Rate(69, 100), repaired=repaired)
    assert at.kept.value == LEAST_KEPT
    assert _near_best([below, at]) == [at]
    assert _near_best([below]) == []
    calm, restless = trial(Rate(9, 10)), trial(Rate(89, 100))
    assert calm.kept.value == CALM_KEPT
    assert _near_best([restless, calm]) == [calm]
