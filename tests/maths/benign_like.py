"""Random statistics of benign inputs, as unlike each other as calibration sets can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.calibrate import fit_tests, set_screen, set_threshold
from nip_export.decision import read_gate
from nip_export.spec import Gate
from nip_export.statistics import log_softmax

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Statistics:
    """Early evidence, logits and logits under an inverse perturbation, all (N, C)."""

    early: Doubles
    raw: Doubles
    perturbed: Doubles

    def fit(self, *, budget: float, screen_rate: float | None) -> Gate:
        """A gate whose threshold is set on the rows that its tests were fitted to."""
        tests = set_screen(
            fit_tests(self.early, self.raw, self.perturbed), self.early, self.raw, screen_rate=screen_rate
        )
        reading = read_gate(tests, self.early, self.raw, self.perturbed)
        return set_threshold(tests, reading.score, reading.screened, benign_budget=budget)


def statistics_of(
    seed: int,
    *,
    rows: int = 120,
    classes: int = 4,
    decimals: int | None = None,
    heavy_tails: bool = False,
) -> Statistics:
    """Draw statistics; `decimals` rounds them, so that many rows tie."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=rows)
    spread = random.standard_t(2, size=(rows, 1)) ** 2 if heavy_tails else np.ones((rows, 1))
    truth = np.eye(classes)[labels]
    early = 2 * truth + random.normal(size=(rows, classes)) * spread
    raw = 6 * truth + random.normal(size=(rows, classes)) * spread
    perturbed = raw + 2 * truth + random.normal(size=(rows, classes)) * spread
    if decimals is not None:
        early, raw, perturbed = (values.round(decimals) for values in (early, raw, perturbed))
        return Statistics(early, raw, perturbed)
    return Statistics(log_softmax(early), raw, perturbed)


benign_statistics = st.builds(
    statistics_of,
    st.integers(0, 10_000),
    rows=st.integers(2, 150),
    classes=st.integers(2, 8),
    decimals=st.sampled_from([None, None, 0, 1]),
    heavy_tails=st.booleans(),
)
