"""What a file may say of itself: never more than benign images show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export.calibrate import Known, fit_tests, known_classes, set_screen, set_threshold
from nip_export.calibrate.gate import allowed_flags
from nip_export.calibrate.verdict import Verdict, coverage_of, enough_for_a_flag, judge_gate, swapped_looks
from nip_export.defence.decision import FirstLook, read_gate
from nip_export.defence.spec import Gate
from nip_export.defence.statistics import distances
from tests.maths.benign_like import EARLY_WEIGHT, Statistics, known_of, statistics_of

BUDGET, SCREEN = 0.05, 0.4


def calm(*, rows: int = 600, noise: float = 0.2) -> Statistics:
    """Benign inputs whose second look says nearly what the first does, give or take `noise` logits."""
    drawn = statistics_of(3, rows=rows)
    random = np.random.default_rng(4)
    return replace(drawn, second=drawn.raw + noise * random.normal(size=drawn.raw.shape))


def judged(
    drawn: Statistics,
    gate: Gate,
    known: Known | None = None,
    *,
    budget: float = BUDGET,
    profile: NDArray[np.int64] | None = None,
    **more: Any,
) -> Verdict:
    known = drawn.known if known is None else known
    labels = drawn.raw.argmax(1)
    look = FirstLook(drawn.raw, drawn.early, distances(known.typicality, drawn.features))
    return judge_gate(
        gate,
        look,
        drawn.second,
        labels,
        known,
        labels[known.present[labels]] if profile is None else profile,
        benign_budget=budget,
        screen_rate=SCREEN,
        seed=0,
        **more,
    )


def test_advice_names_classes_and_asks_for_labels() -> None:
    drawn = calm()
    known = replace(drawn.known, present=np.arange(len(drawn.known.present)) != 1)
    gate = drawn.fit(budget=BUDGET, screen_rate=SCREEN)
    silent = replace(
        gate,
        typicality_scale=replace(
            gate.typicality_scale, inverse_std=np.zeros_like(gate.typicality_scale.inverse_std)
        ),
    )
    names = [f"bird {number}" for number in range(len(known.present))]
    told = judged(drawn, silent, known, class_names=names, is_labelled=False)
    assert "give images of the classes that had none: bird 1 (1)" in told.info.advice
    assert any(advice.startswith("give labels:") for advice in told.info.advice)
    told = judged(drawn, silent, known)
    assert "give images of the classes that had none: class 1" in told.info.advice
    assert not any("labels" in advice for advice in told.info.advice)


@pytest.mark.parametrize(
    ("counts", "known"),
    [
        ([200, 3, 200, 200], [0, 2, 3]),
        ([200, 3, 40, 200], [0, 3]),
        ([200, 50, 200, 200], [0, 1, 2, 3]),
        ([60, 3, 40, 0], [0, 2]),
        ([9, 5, 9, 9], [0, 1, 2, 3]),
        ([2, 1, 0, 2], [0, 1, 3]),
    ],
    ids=[
        "one is rare",
        "two are",
        "fifty are enough",
        "a third of the others",
        "all have few",
        "none at all",
    ],
)
def test_rare_classes_are_told_from_those_that_are_known(counts: list[int], known: list[int]) -> None:
    labels = np.repeat(np.arange(4), counts)
    assert np.flatnonzero(known_classes(labels, 4)).tolist() == known


def test_rare_classes_are_named() -> None:
    drawn, known = calm(), known_of(4, absent=(2,))
    names = [f"bird {number}" for number in range(4)]
    gate = drawn.fit(budget=BUDGET, screen_rate=SCREEN)
    few = judged(drawn, gate, known, profile=np.repeat(np.arange(4), [200, 200, 3, 200]), class_names=names)
    (found,) = [text for text in few.info.advice if "classes without images" in text]
    assert "give more images of bird 2 (2): with fewer than 50" in found
    none = judged(drawn, gate, known, profile=np.repeat(np.arange(4), [200, 200, 0, 200]), class_names=names)
    assert not any("give more images of" in text for text in none.info.advice)


def test_what_is_known_of_the_second_look_in_classes_without_images_is_said() -> None:
    drawn, known = calm(), known_of(4, absent=(2,))
    gate = fit_tests(drawn.look, drawn.second, known, early_weight=EARLY_WEIGHT)
    mute = gate.response_scale.inverse_std.copy()
    mute[2] = 0
    silenced = replace(gate, response_scale=replace(gate.response_scale, inverse_std=mute))
    labels = np.repeat([0, 1, 3], 200)
    for judging, said in (
        (gate, "must show more than that of others"),
        (silenced, "nothing is known of their"),
    ):
        coverage = coverage_of(judging, known, labels)
        assert ("response" in coverage.silent) == (judging is silenced)
        assert ("response of classes without images" in coverage.pooled) == (judging is gate)
        misses = judged(drawn, judging, known, profile=labels).info.misses
        assert any(said in miss for miss in misses), misses


def test_a_steady_second_look_tells_swaps_and_a_scattered_one_does_not() -> None:
    steady, scattered = calm(), calm(noise=40.0)
    told = judged(steady, steady.fit(budget=BUDGET, screen_rate=SCREEN))
    assert told.info.swapped.value > 0.9 and told.dead is None
    assert "whose answer changes at the second look" in told.info.detects[0]
    lost = judged(scattered, scattered.fit(budget=BUDGET, screen_rate=SCREEN))
    assert lost.info.swapped.value < 0.5 and not lost.info.detects
    assert any("lost in its own scatter" in miss for miss in lost.info.misses)


def test_swaps_are_counted_as_the_gate_reads_them() -> None:
    drawn = calm(rows=80)
    gate = drawn.fit(budget=BUDGET, screen_rate=SCREEN)
    swapped, reached = swapped_looks(gate, drawn.look, drawn.second, seed=5)
    partner = np.random.default_rng(5).permutation(80)
    rows = np.flatnonzero(drawn.look.predicted[partner] != drawn.look.predicted)
    through = read_gate(gate, drawn.look.take(rows), drawn.second[partner[rows]])
    alone = read_gate(
        replace(gate, screen_threshold=None), drawn.look.take(rows), drawn.second[partner[rows]]
    )
    assert (swapped.count, swapped.n) == (alone.flagged.sum(), len(rows))
    assert (reached.count, reached.n) == (through.flagged.sum(), len(rows))


def test_a_screen_that_sends_nothing_on_makes_a_dead_gate() -> None:
    drawn = calm()
    gate = drawn.fit(budget=BUDGET, screen_rate=SCREEN)
    shut = judged(drawn, replace(gate, screen_threshold=1e9))
    assert shut.info.reached.count == 0 and shut.info.swapped.value > 0.9
    assert shut.dead is not None and "hardly ever fires" in shut.dead
    assert shut.info.detects == () and shut.info.misses[0].startswith("nearly everything: ")
    deaf = judged(drawn, replace(gate, flag_threshold=1e9))
    assert deaf.dead is not None and deaf.info.swapped.count == 0


def test_images_of_one_class_alone_tell_nothing_of_swaps() -> None:
    drawn = calm()
    gate = drawn.fit(budget=BUDGET, screen_rate=SCREEN)
    one = drawn.take(np.flatnonzero(drawn.look.predicted == 0))
    swapped, reached = swapped_looks(gate, one.look, one.second, seed=0)
    assert (swapped.count, reached.count) == (0, 0)


def test_early_layers_that_know_nothing_are_said_to() -> None:
    drawn = calm()
    ignorant = replace(drawn, early=np.log(np.full_like(drawn.early, 0.25)))
    gate = fit_tests(ignorant.look, ignorant.second, ignorant.known, early_weight=0.0)
    gate = set_screen(gate, ignorant.look, screen_rate=SCREEN)
    reading = read_gate(gate, ignorant.look, ignorant.second)
    gate = set_threshold(gate, reading.score, reading.screened, benign_budget=BUDGET)
    found = judged(ignorant, gate).info
    assert found.early_knows == 0
    assert any("know nothing of the classes" in miss for miss in found.misses)
    assert any("images of every class" in advice for advice in found.advice)
    knowing = judged(drawn, drawn.fit(budget=BUDGET, screen_rate=SCREEN)).info
    assert 0 < knowing.early_knows <= 1
    assert not any("know nothing" in miss for miss in knowing.misses)


def test_coverage_counts_classes_and_names_what_is_silent_of_the_others() -> None:
    drawn, known = calm(), known_of(4, absent=(2,))
    look = FirstLook(drawn.raw, drawn.early, distances(known.typicality, drawn.features))
    gate = fit_tests(look, drawn.second, known, early_weight=EARLY_WEIGHT)
    found = coverage_of(gate, known, np.array([0] * 30 + [1] * 3 + [3] * 10))
    assert (found.with_images, found.few_images, found.without_images) == (3, 1, 1)
    assert found.silent == ("typicality", "disagreement")
    assert found.pooled == ("response of classes without images",)
    verdict = judged(drawn, drawn.fit(budget=BUDGET, screen_rate=SCREEN), known)
    every = coverage_of(drawn.fit(budget=BUDGET, screen_rate=None), drawn.known, np.arange(40) % 4)
    assert (every.without_images, every.silent, every.pooled) == (0, (), ())
    assert verdict.coverage.without_images == 1


@pytest.mark.parametrize("budget", [0.005, 0.02, 0.1])
def test_the_advice_names_as_many_images_as_a_flag_needs(budget: float) -> None:
    enough = enough_for_a_flag(budget)
    assert allowed_flags(enough, budget) == 1 and allowed_flags(enough - 1, budget) < 1
    drawn = calm(rows=60)
    found = judged(drawn, drawn.fit(budget=0.05, screen_rate=SCREEN), budget=budget).info
    assert found.allowed_flags == max(allowed_flags(60, budget), 0)
    asked = any(f"at least {enough} images" in advice for advice in found.advice)
    assert asked == (found.allowed_flags == 0)
