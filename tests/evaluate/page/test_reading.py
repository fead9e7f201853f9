from __future__ import annotations

from dataclasses import replace

import pytest

from nip_evaluate.report.page.reading import (
    Reach,
    Standing,
    adaptive_text,
    epsilon_text,
    headline,
    helps,
    influence_findings,
    reach_text,
    reaches,
    threats_text,
    verdict,
)
from nip_evaluate.terms.results import AttackResult, Estimate, Evaluation, PairedTest
from nip_evaluate.terms.threats import Norm, Threat
from nip_runtime.file.rates import Rate
from tests.evaluate.page.synthetic import influence, minimal
from tests.evaluate.page.synthetic_rows import attack, estimate


def pgd(size: int, *, helped: bool = True) -> AttackResult:
    return attack(f"PGD {size}/255", "PGD", epsilon=size / 255, dsr=0.5 if helped else 0.0)


@pytest.mark.parametrize(
    ("gain", "dsr", "expected"),
    [
        (PairedTest(300, 3, 1e-9), Rate(10, 100), True),
        (PairedTest(300, 3, 1e-9), Rate(9, 100), False),
        (PairedTest(300, 290, 0.05), Rate(30, 100), False),
        (PairedTest(3, 300, 1e-9), Rate(30, 100), False),
        (PairedTest(300, 3, 1e-9), None, False),
    ],
)
def test_helping_needs_both_a_sure_gain_and_a_tenth(
    gain: PairedTest, dsr: Rate | None, expected: bool
) -> None:
    assert helps(replace(attack("a", "a", epsilon=0.1), gain=gain, dsr=dsr)) is expected


def test_the_point_where_it_stops_helping() -> None:
    def rows(**helped: bool) -> list[AttackResult]:
        return [pgd(int(name[1:]), helped=value) for name, value in helped.items()]

    assert reaches(rows(e8=True, e2=True, e16=False, e25=False)) == (Reach("PGD", 8 / 255, 16 / 255, ()),)
    (gap,) = reaches(rows(e2=True, e4=False, e8=True))
    assert gap == Reach("PGD", 8 / 255, None, (4 / 255,))
    assert "largest size tested, ε = 8/255 (but not at ε = 4/255)" in reach_text(gap)
    (never,) = reaches(rows(e2=False, e4=False))
    assert reach_text(never) == "PGD: helps at no ε tested."
    assert reaches(rows(e2=True)) == (), "one size is no curve"


def test_confidence_has_such_a_point_too(full: Evaluation) -> None:
    gray = [row for row in full.attacks if row.threat is Threat.GRAY_BOX]
    (found,) = reaches(gray, by_confidence=True)
    assert reach_text(found, by_confidence=True) == "C&W: helps up to κ = 5; no longer at κ = 20."
    assert [reach.family for reach in reaches(gray)] == ["FGSM", "MI-FGSM", "PGD"], "L2 has no place among L∞"


def test_a_baseline_is_behind_ahead_or_neither(full: Evaluation) -> None:
    row = full.baselines[0]

    def read(value: float, half: float) -> tuple[Standing, str]:
        found = verdict(replace(row, lead=estimate(value, half)), file_cost=row.benign.cost.value)
        return found.standing, found.text

    assert read(0.05, 0.02) == (Standing.BEHIND, "the file is ahead")
    tied = "not better than random pattern in place of ρ: cannot be told apart"
    assert read(0.01, 0.02) == (Standing.TIED, tied)
    assert read(0.02, 0.02) == (Standing.TIED, tied), "an interval that touches zero proves nothing"
    assert read(-0.05, 0.02) == (
        Standing.AHEAD,
        "not better than random pattern in place of ρ, which is ahead",
    )
    assert verdict(replace(row, lead=None), file_cost=0).standing is Standing.UNKNOWN


def test_a_cheaper_baseline_is_called_cheaper_and_its_wins_are_named(full: Evaluation) -> None:
    row = replace(full.baselines[0], lead=estimate(0.05, 0.02))
    assert "gives up more benign accuracy" in verdict(row, file_cost=row.benign.cost.value + 0.001).text
    tests = (PairedTest(3, 40, 1e-4), PairedTest(40, 3, 1e-4), PairedTest(3, 5, 0.7), None)
    attacks = tuple(
        replace(row.attacks[0], name=name, against_file=test)
        for name, test in zip("abcd", tests, strict=True)
    )
    assert verdict(replace(row, attacks=attacks), file_cost=0).wins == ("a",)


def test_what_adaptive_attackers_leave(full: Evaluation) -> None:
    assert "leave 3.4% [2.1%, 5.4%] of answers right on 500 images (the worst of 5 attacks" in adaptive_text(
        full
    )
    alone = adaptive_text(replace(full, worst_case=()))
    assert "6.6%" in alone
    assert "strongest single attack" in alone
    assert "not part of this run" in adaptive_text(minimal())


def test_the_headline_covers_most(full: Evaluation) -> None:
    found = headline(full)
    assert found is not None
    assert threats_text(found.threats) == "T1–T4"
    assert threats_text((Threat.QUERY, Threat.GRAY_BOX)) == "T1, T3"
    assert headline(replace(full, worst_case=())) is None


@pytest.mark.parametrize(
    ("epsilon", "norm", "expected"),
    [
        (8 / 255, Norm.LINF, "8/255"),
        (0.2, Norm.LINF, "51/255"),
        (0.1, Norm.LINF, "0.1"),
        (1.5, Norm.L2, "1.5"),
        (None, Norm.L2, "–"),
    ],
)
def test_epsilon_as_people_write_it(epsilon: float | None, norm: Norm, expected: str) -> None:
    assert epsilon_text(epsilon, norm) == expected


def test_the_findings_say_what_happened_whichever_way_it_went() -> None:
    def three(front: float, middle: float, tail: float) -> tuple[Estimate, Estimate, Estimate]:
        return estimate(front, 0.1), estimate(middle, 0.1), estimate(tail, 0.1)

    shift = replace(
        influence("x", 0.1), benign=three(3, 0.5, -1), attacked=three(1, 0.5, -3), defended=three(2, 0.5, -4)
    )
    front, middle, tail = influence_findings(shift)
    assert front.startswith("front neurons: suppressed by the attack, mean influence +3.000 → +1.000; ")
    assert front.endswith("the second look closed 50% of the gap (→ +2.000).")
    assert "left as they were" in middle
    (still, *_) = influence_findings(replace(shift, defended=three(1.002, 0.5, -4)))
    assert "the second look did not move it (→ +1.002)" in still
    assert (
        "enhanced by the attack, mean influence −1.000 → −3.000; the second look widened the gap by 50%"
        in tail
    )
