"""From a benign budget to what it costs, and back: benign calibration data only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from nip_export.calibrate import Calibration
from nip_runtime.errors import ExportError
from nip_runtime.file.rates import Rate

BUDGETS = (0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08, 0.1)
"""Benign budgets to choose from: shares of rightly labelled benign images that may be flagged."""
QUANTILE = 1.2816
"""Standard errors between a mean and its one-sided 90 % bound."""


@dataclass(frozen=True, kw_only=True)
class BenignCost:
    """What cross-validation says a gate costs on benign calibration images.

    Attributes:
        budget: share of rightly labelled images that it may flag.
        flag_rate: rightly labelled images flagged by a gate fitted without them.
        pass2_rate: likewise, images that took the second pass.
        accuracy_raw: of the network, over all images.
        accuracy_defended: each image judged by a gate that was fitted without it.
    """

    budget: float
    flag_rate: Rate
    pass2_rate: Rate
    accuracy_raw: Rate
    accuracy_defended: Rate

    @classmethod
    def of(cls, budget: float, calibration: Calibration) -> Self:
        """The cost of a calibrated gate."""
        return cls(
            budget=budget,
            flag_rate=calibration.flag_rate,
            pass2_rate=calibration.pass2_rate,
            accuracy_raw=calibration.accuracy_raw,
            accuracy_defended=calibration.accuracy_defended,
        )

    @property
    def given_up(self) -> float:
        """Accuracy given up: 0.01 is one point."""
        return self.accuracy_raw.value - self.accuracy_defended.value

    @property
    def standard_error(self) -> float:
        """Paired standard error of `given_up`.

        Only images answered differently count: those spoiled, which are at most the rightly labelled ones
        that are flagged, and those gained, which then follow from the two accuracies. Where fewer are spoiled
        than flagged, both are overestimated.
        """
        spoiled = self.flag_rate.count
        gained = self.accuracy_defended.count - self.accuracy_raw.count + spoiled
        changed = max(spoiled + gained, abs(gained - spoiled))
        return math.sqrt(changed) / self.accuracy_raw.n

    @property
    def upper_bound(self) -> float:
        """Accuracy given up that is exceeded with a probability of about 10 %."""
        return self.given_up + QUANTILE * self.standard_error


def budget_for_cost(
    cost_of: Callable[[float], BenignCost], limit: float, grid: Sequence[float] = BUDGETS
) -> float:
    """The largest benign budget whose cost is likely to stay within a limit.

    Args:
        cost_of: measures a budget; a budget for which it raises `ExportError` (there are too few images to
            keep it) is passed over.
        limit: accuracy that may be given up; compared with :attr:`BenignCost.upper_bound`.
        grid: budgets to choose from.

    Raises:
        ExportError: no budget of the grid stays within the limit.
    """
    for budget in sorted(grid, reverse=True):
        try:
            cost = cost_of(budget)
        except ExportError:
            continue
        if cost.upper_bound <= limit:
            return budget
    raise ExportError(
        f"expected a benign budget among {', '.join(f'{budget:g}' for budget in sorted(grid))} that gives up "
        f"at most {limit:.2%} of accuracy with 90 % confidence, got none; allow more, or calibrate on more "
        "images"
    )
