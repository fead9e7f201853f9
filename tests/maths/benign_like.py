"""Random statistics of benign inputs, as unlike each other as calibration sets can be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_export.calibrate import Known, fit_tests, set_screen, set_threshold
from nip_export.defence.decision import Decision, FirstLook, Reading, decide, read_gate
from nip_export.defence.spec import Gate, ReadOut, Typicality
from nip_export.defence.statistics import distances, log_softmax
from nip_export.network import TapKind
from nip_runtime.file.manifest import Policy

Doubles = NDArray[np.float64]
EARLY_WEIGHT = 0.3


def known_of(classes: int, *, absent: tuple[int, ...] = ()) -> Known:
    """A read-out and features that hand drawn values on, with a centre in 3-d for every class present."""
    centres = 6 * np.random.default_rng(classes).normal(size=(classes, 3))
    present = ~np.isin(np.arange(classes), absent)
    return Known(
        readouts=(
            ReadOut(
                "layer", TapKind.VECTOR, 1, np.eye(classes, dtype=np.float32), np.zeros(classes, np.float32)
            ),
        ),
        typicality=Typicality(
            tap="features",
            kind=TapKind.VECTOR,
            weight=np.eye(3, dtype=np.float32),
            bias=np.zeros(3, np.float32),
            centres=centres[present].astype(np.float32),
        ),
        present=present,
    )


@dataclass(frozen=True, eq=False)
class Statistics:
    """Early evidence, logits and logits in the second pass, all (N, C), and features (N, 3)."""

    early: Doubles
    raw: Doubles
    second: Doubles
    features: Doubles

    @property
    def known(self) -> Known:
        """What would have been fitted to profile images of all classes."""
        return known_of(self.raw.shape[1])

    @property
    def look(self) -> FirstLook:
        """What pass 1 tells."""
        return FirstLook(self.raw, self.early, distances(self.known.typicality, self.features))

    def take(self, rows: NDArray[np.int64] | slice) -> Statistics:
        """The same of some rows."""
        return Statistics(self.early[rows], self.raw[rows], self.second[rows], self.features[rows])

    def fit(self, *, budget: float, screen_rate: float | None) -> Gate:
        """A gate whose threshold is set on the rows that its tests were fitted to."""
        gate = fit_tests(self.look, self.second, self.known, early_weight=EARLY_WEIGHT)
        tests = set_screen(gate, self.look, screen_rate=screen_rate)
        reading = self.read(tests)
        return set_threshold(tests, reading.score, reading.screened, benign_budget=budget)

    def read(self, gate: Gate) -> Reading:
        """What a gate says of the rows."""
        return read_gate(gate, self.look, self.second)

    def decide(self, policy: Policy, gate: Gate) -> Decision:
        """What a policy answers."""
        return decide(policy, gate, self.read(gate), self.early, self.raw, self.second)


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
    second = raw + 2 * truth + random.normal(size=(rows, classes)) * spread
    features = known_of(classes).typicality.centres[labels] + random.normal(size=(rows, 3)) * spread
    drawn = Statistics(early, raw, second, features)
    if decimals is not None:
        return Statistics(*(values.round(decimals) for values in vars(drawn).values()))
    return replace(drawn, early=log_softmax(early))


benign_statistics = st.builds(
    statistics_of,
    st.integers(0, 10_000),
    rows=st.integers(2, 150),
    classes=st.integers(2, 8),
    decimals=st.sampled_from([None, None, 0, 1]),
    heavy_tails=st.booleans(),
)
