from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nip_evaluate.scoring import MoreSteps, Outcome, sanity_checks, score_attack
from nip_evaluate.terms.results import AttackResult, Check, NotMeasured
from nip_evaluate.terms.threats import Attacked, Norm, Threat
from nip_runtime.file.rates import Rate
from tests.evaluate.scoring.made import case, outcome

COUNT = 100


def left(
    name: str,
    raw: int,
    *,
    right: int | None = None,
    family: str = "PGD",
    threat: Threat = Threat.GRAY_BOX,
    norm: Norm = Norm.LINF,
    epsilon: float | None = 8 / 255,
    count: int = COUNT,
) -> Outcome:
    """An attack that leaves the network `raw` and the defence `right` images."""
    defended = raw if right is None else right
    return outcome(
        case(name, family=family, threat=threat, norm=norm, epsilon=epsilon),
        raw=[1] * raw + [0] * (count - raw),
        right=[1] * defended + [0] * (count - defended),
    )


def result(one: Outcome, *, disagreeing: int = 0) -> AttackResult:
    fooled = ~one.raw_right
    fooled[:disagreeing] ^= True
    images = np.zeros((len(one), 1), np.float32)
    return score_attack(one, attacked=Attacked(one.case, images, 1.0), clean=images, fooled_torch=fooled)


def found(word: str, *outcomes: Outcome, more_steps: MoreSteps | None = None) -> Check | NotMeasured:
    """The one check whose claim holds this word."""
    results = [result(one) for one in outcomes]
    sanity = sanity_checks(outcomes, results, classes=10, more_steps=more_steps)
    assert len(sanity.checks) + len(sanity.not_measured) == 7
    checks = [check for check in sanity.checks if word in check.claim]
    gaps = [gap for gap in sanity.not_measured if word in gap.what]
    assert len(checks) + len(gaps) == 1
    return (checks or gaps)[0]


def holds(one: Check | NotMeasured) -> bool:
    assert isinstance(one, Check), one
    return one.holds


FGSM = "than FGSM"
LARGER = "larger ε"
CHANCE = "chance"
MINIMUM = "Minimum-norm"
QUERY = "query attack"
AGREE = "agree"
STEPS = "More steps"


def test_pgd_against_fgsm_of_the_same_size() -> None:
    fgsm = left("FGSM 8/255", 30, family="FGSM")
    assert holds(found(FGSM, fgsm, left("PGD 8/255", 30)))
    worse = found(FGSM, fgsm, left("PGD 8/255", 31))
    assert not holds(worse)
    assert isinstance(worse, Check)
    assert worse.detail == "PGD 8/255 leaves 31/100, FGSM 8/255 30/100"
    assert isinstance(found(FGSM, fgsm, left("PGD 25/255", 31, epsilon=25 / 255)), NotMeasured)
    assert isinstance(found(FGSM, fgsm, left("PGD", 31, norm=Norm.L2)), NotMeasured)


def test_attacks_are_compared_on_the_images_they_share() -> None:
    # On its first 50 images FGSM leaves 30 too.
    fgsm = left("FGSM 8/255", 30, family="FGSM")
    assert holds(found(FGSM, fgsm, left("PGD 8/255", 30, count=50)))
    assert not holds(found(FGSM, fgsm, left("PGD 8/255", 40, count=50)))


def test_larger_epsilon_may_leave_one_image_more() -> None:
    small, large = left("small", 20, epsilon=0.01), left("large", 21, epsilon=0.02)
    assert holds(found(LARGER, small, large))
    assert not holds(found(LARGER, small, left("large", 22, epsilon=0.02)))
    assert isinstance(found(LARGER, small, left("large", 22, family="FGSM", epsilon=0.02)), NotMeasured)


def test_larger_epsilon_of_an_adaptive_attack_is_judged_by_the_defence() -> None:
    small = left("small", 50, right=20, threat=Threat.ADAPTIVE, epsilon=0.01)
    large = left("large", 50, right=40, threat=Threat.ADAPTIVE, epsilon=0.02)
    assert not holds(found(LARGER, small, large))
    assert holds(found(LARGER, small, left("large", 50, right=20, threat=Threat.ADAPTIVE, epsilon=0.02)))


@pytest.mark.parametrize(("raw", "sound"), [(10, True), (11, False)])
def test_large_epsilon_must_reach_chance(raw: int, sound: bool) -> None:
    assert holds(found(CHANCE, left("PGD 25/255", raw, epsilon=25 / 255))) is sound
    assert isinstance(found(CHANCE, left("PGD 16/255", raw, epsilon=16 / 255)), NotMeasured)


@pytest.mark.parametrize(("raw", "sound"), [(1, True), (2, False)])
def test_minimum_norm_attacks_must_succeed(raw: int, sound: bool) -> None:
    assert holds(found(MINIMUM, left("C&W", raw, norm=Norm.L2, epsilon=None))) is sound
    assert isinstance(found(MINIMUM, left("PGD", raw)), NotMeasured)
    assert isinstance(found(MINIMUM, left("one-pixel", raw, norm=Norm.L0, epsilon=None)), NotMeasured)


def test_query_attacks_against_the_adaptive_worst_case() -> None:
    adaptive = left("adaptive", 50, right=20, threat=Threat.ADAPTIVE)
    second = left("second", 50, right=10, threat=Threat.ADAPTIVE)
    query = left("Square", 50, right=15, threat=Threat.QUERY)
    assert not holds(found(QUERY, adaptive, query))
    assert holds(found(QUERY, adaptive, second, query))
    assert isinstance(
        found(QUERY, adaptive, left("Boundary", 5, threat=Threat.QUERY, epsilon=None)), NotMeasured
    )


def test_file_and_torch_must_agree() -> None:
    one = left("PGD 8/255", 10)
    for disagreeing, sound in ((1, True), (2, False)):
        sanity = sanity_checks([one], [result(one, disagreeing=disagreeing)], classes=10)
        (check,) = (check for check in sanity.checks if AGREE in check.claim)
        assert check.holds is sound
        assert check.detail == f"PGD 8/255: {100 - disagreeing}/100"


def test_more_steps() -> None:
    pair = MoreSteps(
        attack="PGD", steps=50, more_steps=200, accuracy=Rate(120, 1000), accuracy_more=Rate(111, 1000)
    )
    one = left("PGD 8/255", 10)
    close = found(STEPS, one, more_steps=pair)
    assert holds(close)
    assert isinstance(close, Check)
    assert close.detail == "PGD: 50 steps leave 120/1000, 200 steps 111/1000"
    assert not holds(found(STEPS, one, more_steps=replace(pair, accuracy_more=Rate(110, 1000))))
    assert isinstance(found(STEPS, one), NotMeasured)


def test_all_that_speaks_against_a_claim_is_told_and_given_checks_come_first() -> None:
    parity = Check("twin and file agree", True, "0 of 100 differ")
    rising = [left(f"PGD {i}", 10 * i, epsilon=i / 255) for i in range(1, 8)]
    sanity = sanity_checks(rising, [result(one) for one in rising], classes=10, given=[parity])
    assert sanity.checks[0] == parity
    (check,) = (check for check in sanity.checks if LARGER in check.claim)
    assert check.detail.count("leaves") == 6
    falling = found(LARGER, *(left(f"PGD {i}", 80 - 10 * i, epsilon=i / 255) for i in range(1, 8)))
    assert isinstance(falling, Check)
    assert falling.detail.endswith("; and 2 more that hold")
