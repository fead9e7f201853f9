"""Which view is chosen, on passes made up so that one of them is plainly best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export.calibrate import ViewTrial, choose_view
from nip_export.calibrate.view import (
    CALM_ENOUGH,
    CALM_KEPT,
    LEAST_KEPT,
    LEAST_MISTAKES,
    LEAST_REPAIRED,
    MOST_MISTAKES,
    MOST_RIGHT,
    NEARLY,
    _near_best,
)
from nip_export.defence.views import View
from nip_export.network.run import Passed
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import ViewStep
from nip_runtime.file.rates import Rate
from tests.maths.benign_like import known_of

MIRROR: View = (ViewStep.MIRROR,)
SHIFT: View = (ViewStep.SHIFT,)
MEDIAN: View = (ViewStep.MEDIAN,)
CLASSES = 4
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Effect:
    """What a second pass does: mistakes whose true class rises, right answers lost, how far features move,
    how far logits do on their own."""

    repairs: float = 0.0
    loses: float = 0.0
    strength: float = 0.1
    restless: float = 1.0


@dataclass(eq=False)
class World:
    """Inputs of which the last ones are misclassified, and what every view does to them."""

    effects: dict[tuple[View, bool], Effect]
    right: int = 400
    wrong: int = 100
    asked: list[tuple[View, bool, Rows]] = field(default_factory=list)

    def __post_init__(self) -> None:
        random, count = np.random.default_rng(0), self.right + self.wrong
        self.labels = random.integers(CLASSES, size=count)
        self.predicted = (self.labels + (np.arange(count) >= self.right)) % CLASSES
        logits = 8 * np.eye(CLASSES)[self.predicted] + random.normal(size=(count, CLASSES))
        # Read-outs that know nothing; features one unit from their mean.
        directions = random.normal(size=(count, 3))
        features = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        pooled = {"layer": np.zeros((count, CLASSES), np.float32), "features": features.astype(np.float32)}
        self.raw = Passed(logits.astype(np.float32), pooled)

    def second(self, view: View, rho: bool, rows: Rows) -> Passed:
        self.asked.append((view, rho, rows))
        effect = self.effects[view, rho]
        raw = self.raw.take(rows)
        places = np.random.default_rng(1).permutation(len(rows)) / len(rows)
        correct = self.predicted[rows] == self.labels[rows]
        logits = raw.logits + effect.restless * np.random.default_rng(2).normal(size=raw.logits.shape)
        repaired, lost = ~correct & (places < effect.repairs), correct & (places < effect.loses)
        logits[repaired, self.labels[rows][repaired]] += 6
        logits[lost, (self.predicted[rows][lost] + 1) % CLASSES] += 20
        moved = raw.pooled["features"] + np.array([effect.strength, 0, 0], np.float32)
        return Passed(logits.astype(np.float32), {**raw.pooled, "features": moved})

    def choose(
        self,
        views: Sequence[View],
        *,
        rho: bool | None = False,
        seed: int = 0,
        gentle: Sequence[View] = (),
    ) -> tuple[ViewTrial, tuple[ViewTrial, ...]]:
        known = known_of(CLASSES)
        return choose_view(
            views, self.second, self.raw, self.labels, known, seed=seed, rho=rho, gentle=gentle
        )


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
        assert LEAST_KEPT <= mirror.kept.value < CALM_ENOUGH
        assert chosen.view == gain, "it shows as much as the median, and is stronger"
    else:
        assert mirror.kept.value >= CALM_ENOUGH
        assert chosen is mirror and gain not in [one.view for one in tried]


def test_if_no_view_keeps_enough_the_one_that_keeps_most_is_taken() -> None:
    effects = {
        (MIRROR, False): Effect(repairs=1.0, loses=0.9),
        (MEDIAN, False): Effect(loses=0.5),
        (SHIFT, False): Effect(repairs=0.5, loses=0.7),
    }
    assert World(effects).choose([MIRROR, MEDIAN, SHIFT])[0].view == MEDIAN


@pytest.mark.parametrize(
    ("with_rho", "taken"),
    [
        (Effect(repairs=0.9, strength=0.5), True),
        (Effect(repairs=0.87, strength=0.5), True),
        (Effect(repairs=0.8, strength=0.5), False),
        (Effect(repairs=0.9, strength=0.2), False),
        (Effect(repairs=0.5, strength=0.5), False),
        (Effect(repairs=1.0, loses=0.4, strength=0.5), False),
    ],
    ids=[
        "as good and stronger",
        "nearly as good and stronger",
        "stronger, and less than nine tenths as good",
        "as good but weaker",
        "worse",
        "loses too much",
    ],
)
def test_rho_is_added_only_if_near_the_best_and_stronger(with_rho: Effect, taken: bool) -> None:
    world = World(
        {
            (MIRROR, False): Effect(repairs=0.9, strength=0.3),
            (MEDIAN, False): Effect(strength=0.9),
            (MIRROR, True): with_rho,
            ((), True): Effect(repairs=0.1, strength=0.01),
        }
    )
    chosen, tried = world.choose([(), MIRROR, MEDIAN], rho=None)
    assert (chosen.view, chosen.rho) == (MIRROR, taken)
    assert chosen.name == ("mirror+rho" if taken else "mirror")
    assert [trial.name for trial in tried] == ["mirror", "median", "mirror+rho", "rho"]


def test_rho_is_not_added_where_the_perturbation_alone_is_far_better() -> None:
    world = World(
        {
            (MIRROR, False): Effect(repairs=0.5, strength=0.3),
            (MIRROR, True): Effect(repairs=0.6, strength=0.5),
            ((), True): Effect(repairs=1.0, strength=0.1),
        }
    )
    assert world.choose([(), MIRROR], rho=None)[0].name == "mirror"


@pytest.mark.parametrize("rho", [True, False])
def test_whether_rho_is_added_can_be_decided_beforehand(rho: bool) -> None:
    world = World({(view, rho): Effect(repairs=0.5) for view in ((), MIRROR, MEDIAN)})
    chosen, tried = world.choose([(), MIRROR, MEDIAN], rho=rho)
    assert chosen.rho is rho
    assert [(trial.view, trial.rho) for trial in tried] == [
        (view, rho) for view in ((), MIRROR, MEDIAN) if view or rho
    ]


def test_without_another_view_the_perturbation_alone_is_tried() -> None:
    world = World({((), True): Effect(repairs=0.2, strength=0.1)})
    chosen, tried = world.choose([()], rho=None)
    assert chosen.name == "rho" and tried == (chosen,)
    with pytest.raises(ExportError, match="view: expected one that changes the input, got none; add a step"):
        world.choose([()], rho=False)


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


def test_noticed_is_the_share_that_responds_towards_its_own_class_more_than_benign_images_do() -> None:
    """Two classes, and logits that the view leaves alone but for a fixed rise of the other class."""
    count = 200
    labels = np.arange(count) % 2
    gap = np.where(np.arange(count) < 100, 10.0, 1.0)  # a quarter of the way back is up to 5, or up to 0.5
    logits = np.where(np.eye(2, dtype=bool)[labels], gap[:, None], 0).astype(np.float32)
    rises = np.random.default_rng(0).uniform(0, 2, count).astype(np.float32)
    features = np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)
    pooled = {"layer": np.zeros((count, 2), np.float32), "features": features}

    def second(view: View, rho: bool, rows: Rows) -> Passed:
        moved = logits.copy()
        moved[np.arange(count), 1 - labels] += rises
        return Passed(moved[rows], {name: values[rows] for name, values in pooled.items()})

    raw = Passed(logits, pooled)
    _, (trial,) = choose_view([MIRROR], second, raw, labels, known_of(2), seed=0, rho=False)
    assert trial.noticed is not None
    assert 80 < trial.noticed.n < count, "pairs of one class say nothing"
    # Only those with a wide gap on either side rise by more than the benign 2.
    assert 0.4 < trial.noticed.value < 0.8
    one = np.zeros(count, np.int64)
    _, (alone,) = choose_view([MIRROR], second, raw, one, known_of(2), seed=0, rho=False)
    assert alone.noticed is None, "right answers of one class"


@pytest.mark.parametrize(("wrong", "taken"), [(0, False), (9, False), (200, True)])
def test_without_mistakes_to_see_it_by_rho_is_left_out(wrong: int, taken: bool) -> None:
    world = World(
        {
            (MIRROR, False): Effect(repairs=0.5, strength=0.3),
            (MIRROR, True): Effect(repairs=0.5, strength=0.6),
            ((), True): Effect(),
        },
        wrong=wrong,
    )
    assert world.choose([(), MIRROR], rho=None)[0].rho is taken


@pytest.mark.parametrize(
    ("told", "repaired", "keeps"),
    [
        ((0.6, 0.55), (Rate(30, 100), Rate(30, 100)), True),
        ((0.6, 0.6), (Rate(30, 100), Rate(26, 100)), False),
        ((0.6, 0.50), (Rate(30, 100), Rate(33, 100)), True),
        ((0.6, 0.60), (Rate(9, 51), Rate(9, 51)), False),
        ((0.6, 0.60), (Rate(10, 51), Rate(10, 51)), True),
        ((0.6, 0.60), (Rate(15, 19), Rate(15, 19)), False),
        ((0.5, 0.50), (None, None), False),
    ],
    ids=[
        "tells nearly as well",
        "repairs less",
        "tells worse and repairs more",
        "hardly any repaired",
        "just enough repaired",
        "too few mistakes",
        "no mistake",
    ],
)
def test_rho_must_leave_a_view_its_worth(
    told: tuple[float, float], repaired: tuple[Rate | None, Rate | None], keeps: bool
) -> None:
    """Among a thousand classes the true one seldom rises most: then nothing shows what ρ does."""
    view, with_rho = (
        ViewTrial(MIRROR, rho, Rate(290, 300), told[rho], repaired[rho], 0.3) for rho in (False, True)
    )
    assert with_rho.keeps_worth_of(view) is keeps


def test_the_numbers_of_a_trial_are_what_their_names_say() -> None:
    world = World({(MIRROR, False): Effect(repairs=0.5, loses=0.2, strength=0.25)}, right=60, wrong=40)
    _, (trial,) = world.choose([MIRROR])
    (_, _, rows) = world.asked[0]
    second = world.second(MIRROR, False, rows)
    correct = world.predicted[rows] == world.labels[rows]
    kept = (second.logits.argmax(1) == world.predicted[rows])[correct]
    assert trial.kept == Rate(int(kept.sum()), 60)
    assert trial.repaired is not None
    assert trial.repaired.n == 40 and 18 <= trial.repaired.count <= 32, "half, and a third of the others"
    assert trial.worth == trial.told * trial.repaired.value
    features = world.raw.pooled["features"][rows]
    apart = np.linalg.norm(features - features.mean(0), axis=1).mean()
    assert trial.strength == pytest.approx(0.25 / apart, rel=1e-5)
    assert 0.5 < trial.told < 1


def test_told_is_the_chance_that_a_mistake_responds_more_than_a_right_answer() -> None:
    """Two classes, no noise: the response is the other class's rise, so the chance can be counted."""
    rises = np.array([0.0, 1, 2, 3, 1, 4, 9], np.float32)  # four right answers, three mistakes
    labels, known = np.array([0, 0, 0, 0, 1, 1, 1]), known_of(2)
    logits = np.tile(np.array([5, 0], np.float32), (7, 1))
    pooled = {"layer": np.zeros((7, 2), np.float32), "features": np.eye(7, 3, dtype=np.float32)}

    def second(view: View, rho: bool, rows: Rows) -> Passed:
        moved = logits.copy()
        moved[:, 1] += rises
        return Passed(moved[rows], {name: values[rows] for name, values in pooled.items()})

    _, (trial,) = choose_view([MIRROR], second, Passed(logits, pooled), labels, known, seed=0, rho=False)
    # 1 against 0, 1, 2, 3: one larger, one alike; 4 and 9 exceed all four.
    assert trial.told == pytest.approx((1.5 + 4 + 4) / 12)
    assert trial.kept == Rate(4, 4) and trial.repaired == Rate(3, 3)
    assert trial.strength == 0


def test_at_most_three_hundred_of_either_kind_are_looked_at_and_the_seed_picks_them() -> None:
    world = World({(MIRROR, False): Effect()}, right=500, wrong=350)
    for seed in (1, 1, 2):
        world.choose([MIRROR], seed=seed)
    first, again, other = (rows for _, _, rows in world.asked)
    correct = world.predicted[first] == world.labels[first]
    assert (correct.sum(), (~correct).sum()) == (MOST_RIGHT, MOST_MISTAKES) == (300, 300)
    assert len(set(first.tolist())) == len(first)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


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


def test_a_response_no_larger_than_that_of_benign_images_is_not_noticed() -> None:
    """Every other class rises by 8, and a quarter of the way from 8 below to 8 above lifts it by as much."""
    labels = np.arange(100) % 2
    logits = (8 * np.eye(2)[labels]).astype(np.float32)
    features = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    raw = Passed(logits, {"layer": np.zeros((100, 2), np.float32), "features": features})

    def noticed(rise: float) -> Rate | None:
        def second(view: View, rho: bool, rows: Rows) -> Passed:
            return Passed(np.where(logits == 8, 8, np.float32(rise))[rows], raw.take(rows).pooled)

        return choose_view([MIRROR], second, raw, labels, known_of(2), seed=0, rho=False)[1][0].noticed

    alike, larger = noticed(8), noticed(6)  # 4 + 8 / 2 is 8; 4 + 6 / 2 is more than 6
    assert alike is not None and larger is not None
    assert (alike.value, larger.value) == (0, 1)
