from __future__ import annotations

import math

import numpy as np
import pytest

from nip_evaluate.baselines import BenignCost, Laboratory, VariantKind, budget_for_cost
from nip_runtime.errors import ExportError
from nip_runtime.file.rates import Rate


def cost(budget: float, *, spoiled: int, gained: int, n: int = 1000, raw: int = 900) -> BenignCost:
    return BenignCost(
        budget=budget,
        flag_rate=Rate(spoiled, raw),
        pass2_rate=Rate(raw, raw),
        accuracy_raw=Rate(raw, n),
        accuracy_defended=Rate(raw - spoiled + gained, n),
    )


def test_the_standard_error_counts_every_changed_answer() -> None:
    measured = cost(0.02, spoiled=18, gained=7)
    assert measured.given_up == pytest.approx(0.011)
    assert measured.standard_error == pytest.approx(math.sqrt(25) / 1000)
    assert measured.upper_bound == pytest.approx(0.011 + 1.2816 * 0.005)


def test_the_bound_is_exceeded_by_one_draw_in_ten() -> None:
    """Against the paired answers themselves: 3 % spoiled and 1 % gained, drawn again and again."""
    random = np.random.default_rng(0)
    draws = random.multinomial(1000, (0.03, 0.01, 0.96), size=4000)
    bounds = np.array([cost(0.05, spoiled=int(s), gained=int(g)).upper_bound for s, g, _ in draws])
    assert 0.07 < (bounds < 0.02).mean() < 0.14


def test_the_largest_budget_within_the_limit_is_taken() -> None:
    def measured(budget: float) -> BenignCost:
        if budget < 0.005:
            raise ExportError("too few images")
        return cost(budget, spoiled=round(900 * budget), gained=0)

    # 9 spoiled of 1000: 0.9 points and 1.2816 standard errors of 0.3 points.
    assert budget_for_cost(measured, 0.0129, (0.001, 0.01, 0.02, 0.005)) == 0.01
    assert budget_for_cost(measured, 0.0128, (0.001, 0.01, 0.02, 0.005)) == 0.005
    with pytest.raises(ExportError, match=r"among 0.001, 0.01 that gives up at most 0.10%"):
        budget_for_cost(measured, 0.001, (0.001, 0.01))


def test_budgets_of_variants_follow_their_cost(laboratory: Laboratory) -> None:
    grid = (0.01, 0.02, 0.05, 0.1, 0.2)
    for kind in (VariantKind.FILE, VariantKind.EARLY_ALONE):
        chosen = laboratory.budget_for_cost(kind, 0.06, grid)
        assert laboratory.cost(kind, chosen).upper_bound <= 0.06
        larger = [budget for budget in grid if budget > chosen]
        assert all(laboratory.cost(kind, budget).upper_bound > 0.06 for budget in larger)
        assert chosen < 0.2
