from __future__ import annotations

import time

import numpy as np
import pytest

from nip_evaluate.scoring import Outcome, lead, mean_dsr, score_attack, score_baseline, score_benign
from nip_evaluate.scoring.bootstrap import MeanDsr, draw_weights
from nip_evaluate.terms.answers import Defence
from nip_evaluate.terms.results import PairedTest
from nip_evaluate.terms.threats import Attacked, Threat
from nip_runtime.errors import InputError
from nip_runtime.file.rates import Rate
from tests.evaluate.scoring.made import answers, case, outcome

TRUTH = np.array([0, 0, 1, 1, 2])
# Row 4 is wrong before the attack and put right by the defence; row 1 the defence spoils.
BENIGN = answers([0, 2, 1, 1, 2], [0, 0, 1, 1, 1], flagged=[0, 1, 0, 0, 1])
# Fooled: rows 0, 1, 2, of which 2 stays wrong. Row 3 withstands and is spoilt; row 4 was wrong before.
UNDER_ATTACK = answers([0, 0, 0, 2, 2], [1, 1, 0, 1, 0], flagged=[1, 0, 1, 1, 1])
CLEAN = np.zeros((6, 1, 2, 2), np.float32)


def attacked(count: int, change: float = 0.25) -> Attacked:
    return Attacked(case(), CLEAN[:count] + np.float32(change), seconds=1.5, queries=None)


def test_benign_cost_by_hand() -> None:
    score = score_benign(BENIGN, TRUTH, second_pass=np.array([1, 1, 0, 0, 1], bool))
    assert (score.undefended, score.defended) == (Rate(4, 5), Rate(4, 5))
    assert score.cost.value == 0
    assert score.false_corrections == Rate(1, 4)
    assert score.flagged == Rate(2, 5)
    assert score.flagged_correct == Rate(1, 4)
    assert score.second_pass == Rate(3, 5)


def test_benign_cost_of_a_defence_without_flags() -> None:
    score = score_benign(answers([1, 0], [1, 1]), np.array([0, 0]), second_pass=None)
    assert (score.flagged, score.flagged_correct, score.second_pass) == (None, None, None)
    assert score.false_corrections is None  # the network labels nothing rightly
    assert score.cost.value == -0.5


def test_an_attack_by_hand() -> None:
    one = Outcome.of(case(), truth=TRUTH, benign=BENIGN, answers=UNDER_ATTACK)
    score = score_attack(one, attacked=attacked(5), clean=CLEAN, fooled_torch=np.array([1, 1, 1, 0, 0], bool))
    assert score.undefended == Rate(1, 5)
    assert score.defended == Rate(3, 5)
    assert score.successes == 3
    assert score.dsr == Rate(2, 3)
    assert score.detected == Rate(2, 3)
    assert score.broken == Rate(1, 1)
    assert score.gain == PairedTest(only_first=3, only_second=1, p_value=0.625)  # 2 · (1 + 4) / 2⁴
    assert score.agreement == Rate(4, 5)
    assert (score.mean_linf, score.mean_l2) == (0.25, 0.5)  # four elements of 0.25
    assert (score.name, score.epsilon, score.core) == ("PGD 8/255", 8 / 255, True)


def test_only_the_attacked_images_count() -> None:
    one = Outcome.of(case(), truth=TRUTH, benign=BENIGN, answers=answers([1, 0], [1, 0]))
    score = score_attack(one, attacked=attacked(2), clean=CLEAN, fooled_torch=np.array([1, 0], bool))
    assert score.defended == Rate(1, 2)
    assert score.dsr == Rate(0, 1)
    assert score.detected is None


def test_without_a_success_there_is_no_dsr() -> None:
    one = outcome(case(), raw=[1, 1], right=[1, 0])
    score = score_attack(one, attacked=attacked(2), clean=CLEAN, fooled_torch=np.zeros(2, bool))
    assert (score.successes, score.dsr) == (0, None)
    assert mean_dsr([one]) is None
    assert lead([one], [one]) is None


def test_images_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match="expected 2 images attacked by PGD 8/255"):
        score_attack(
            outcome(case(), raw=[0, 0], right=[1, 1]),
            attacked=attacked(3),
            clean=CLEAN,
            fooled_torch=np.ones(2, bool),
        )
    with pytest.raises(InputError, match="5 before and 2 after"):
        Outcome(case(), TRUTH, BENIGN, answers([1, 0], [1, 0]))
    with pytest.raises(InputError, match="one answer per true class, 4"):
        score_benign(BENIGN, TRUTH[:4], second_pass=None)


def test_mean_dsr_weighs_attacks_alike_and_counts_core_attacks_alone() -> None:
    half = outcome(case("a"), raw=[0, 0, 0, 0], right=[1, 1, 0, 0])
    all_of_one = outcome(case("b"), raw=[0, 1], right=[1, 1])
    apart = outcome(case("c", core=False), raw=[0, 0], right=[0, 0])
    never = outcome(case("d"), raw=[1, 1], right=[0, 0])
    mean = mean_dsr([half, all_of_one, apart, never])
    assert mean is not None
    assert mean.value == 0.75
    assert mean.low < 0.75 < mean.high
    assert mean.n == 4
    assert "2 attacks" in mean.method and "1000 resamples" in mean.method


def test_where_nothing_or_everything_is_repaired_the_interval_does_not_claim_certainty() -> None:
    none = mean_dsr([outcome(case(), raw=[0] * 20, right=[0] * 20)])
    every = mean_dsr([outcome(case(), raw=[0] * 20, right=[1] * 20)])
    assert none is not None and every is not None
    unseen = Rate(0, 20).interval[1]
    assert (none.value, none.low, none.high) == (0, 0, unseen)
    assert (every.value, every.low, every.high) == (1, 1 - unseen, 1)


def test_a_lead_without_any_difference_is_not_certain_either() -> None:
    one = [outcome(case(), raw=[0] * 20, right=[1] * 10 + [0] * 10)]
    none = lead(one, one)
    assert none is not None
    assert (none.value, none.high) == (0, Rate(0, 20).interval[1])
    assert none.low == -none.high
    assert "paired difference" in none.method and "Wilson" in none.method


def test_threat_models_are_never_averaged() -> None:
    mixed = [
        outcome(case(), raw=[0], right=[1]),
        outcome(case("twin", threat=Threat.ADAPTIVE), raw=[0], right=[1]),
    ]
    with pytest.raises(InputError, match="one threat model, got T1, T4"):
        mean_dsr(mixed)
    with pytest.raises(InputError, match="one threat model, got T1, T4"):
        lead(mixed, mixed)


def test_lead_is_paired() -> None:
    rng = np.random.default_rng(0)
    ours = (rng.random(200) < 0.6).astype(int)
    worse = ours.copy()
    worse[np.flatnonzero(ours)[:20]] = 0  # never right where ours is wrong
    apart = rng.permutation(worse)
    first = [outcome(case(), raw=[0] * 200, right=list(ours))]
    paired = lead(first, [outcome(case(), raw=[0] * 200, right=list(worse))])
    unrelated = lead(first, [outcome(case(), raw=[0] * 200, right=list(apart))])
    assert paired is not None and unrelated is not None
    assert paired.value == pytest.approx(0.1) == unrelated.value
    assert 0.05 < paired.low < 0.1 < paired.high < 0.15
    assert unrelated.high - unrelated.low > 1.5 * (paired.high - paired.low)
    assert lead(first, first) is not None


def test_lead_refuses_other_attacks_and_other_images() -> None:
    one = outcome(case(), raw=[0, 0], right=[1, 0])
    with pytest.raises(InputError, match="only on one: FGSM 8/255"):
        lead([one], [one, outcome(case("FGSM 8/255"), raw=[0], right=[1])])
    with pytest.raises(InputError, match="2 and 1 images"):
        lead([one], [one.first(1)])


def test_a_baseline_is_compared_on_the_attacks_and_images_it_faced() -> None:
    file = [
        outcome(case("other"), raw=[0, 0], right=[0, 0]),
        outcome(case(), raw=[0, 0, 0, 1], right=[1, 1, 0, 1]),
    ]
    theirs = [outcome(case(), raw=[0, 0, 0], right=[0, 1, 0])]
    benign = score_benign(BENIGN, TRUTH, second_pass=None)
    jpeg = Defence(name="JPEG", description="quality 50", passes=1, answer=lambda images: UNDER_ATTACK)
    score = score_baseline(jpeg, variant=False, benign=benign, file=file, baseline=theirs)
    assert score.mean_dsr is not None and score.lead is not None
    assert score.mean_dsr.value == pytest.approx(1 / 3)
    assert score.lead.value == pytest.approx(1 / 3)
    (attack,) = score.attacks
    assert (attack.defended, attack.dsr) == (Rate(1, 3), Rate(1, 3))
    assert attack.against_file == PairedTest(only_first=1, only_second=0, p_value=1.0)
    assert attack.detected is None


def test_what_a_baseline_detects_counts_successes_alone() -> None:
    benign = score_benign(BENIGN, TRUTH, second_pass=None)
    detector = Defence(name="energy", description="", passes=1, answer=lambda images: UNDER_ATTACK)
    one = Outcome.of(case(), truth=TRUTH, benign=BENIGN, answers=UNDER_ATTACK)
    apart = case("FGSM 8/255", core=False)
    all_flagged = answers([0, 0, 1, 1, 1], [0, 0, 1, 1, 1], flagged=[1, 1, 1, 1, 1])
    withstood = Outcome.of(apart, truth=TRUTH, benign=BENIGN, answers=all_flagged)
    score = score_baseline(detector, variant=False, benign=benign, file=[one], baseline=[one, withstood])
    # Rows 0, 1 and 2 are fooled, 0 and 2 of them flagged; rows 3 and 4 are flagged too.
    assert [attack.detected for attack in score.attacks] == [Rate(2, 3), None]


def test_resamples_draw_every_image_alike() -> None:
    weights = draw_weights(50, 4000)
    assert (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(np.ones(50), abs=0.08)
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.03)  # of a multinomial of 50 in 50


def test_the_interval_covers_the_truth() -> None:
    # Three attacks on the same images, some images hard under all of them. True mean DSR: 0.5.
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(150):
        chance = rng.choice([0.1, 0.5, 0.9], size=(1, 80))
        success = rng.random((3, 80)) < 0.8
        success[2, 40:] = False  # an attack on the first images alone
        repaired = success & (rng.random((3, 80)) < chance)
        estimate = MeanDsr(success, resamples=300).estimate(repaired)
        covered += estimate.low <= 0.5 <= estimate.high
    assert 135 <= covered <= 149  # 142.5 expected


def test_resampling_pairs_instead_of_images_would_be_too_sure() -> None:
    # One image, eight attacks, always the same fate: eight times as many trials tell no more.
    rng = np.random.default_rng(1)
    fate = (rng.random(100) < 0.5).astype(int)
    one = mean_dsr([outcome(case(), raw=[0] * 100, right=list(fate))])
    eight = mean_dsr([outcome(case(str(i)), raw=[0] * 100, right=list(fate)) for i in range(8)])
    assert one is not None and eight is not None
    assert eight.high - eight.low == pytest.approx(one.high - one.low)


def test_eight_attacks_on_a_thousand_images_are_quick() -> None:
    rng = np.random.default_rng(2)
    many = [outcome(case(str(i)), raw=[0] * 1000, right=list(rng.integers(2, size=1000))) for i in range(8)]
    began = time.process_time()
    mean_dsr(many)
    assert time.process_time() - began < 1
