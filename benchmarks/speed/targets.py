"""What was promised, as data: the one place in which a limit is written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """What the defence has to do with a batch. Rows that take the second pass are called screened; the gate
    flags only some of those."""

    BENIGN = "benign"
    """Policy ``guarded`` and ordinary traffic: as many rows are screened as of the file's benign images."""
    ALWAYS = "always"
    """Policy ``always``: two passes for every row."""
    CALM = "calm"
    """Policy ``guarded``, and no row is screened."""
    FEW = "few"
    """Policy ``guarded``, and 5 % of the rows (at least one) go to the second pass."""
    ALL = "all"
    """Policy ``guarded``, and every row goes to the second pass."""

    @property
    def label(self) -> str:
        """As tables print it."""
        return LABELS[self]

    def timed_at(self, batch: int) -> bool:
        """Whether a batch of this size can be in this state: a single row is screened or is not."""
        return batch > 1 or self not in (State.BENIGN, State.FEW)

    def second_pass_rows(self, batch: int, screen_rate: float) -> int:
        """How many rows of a batch take the second pass; `screen_rate`: share of benign rows, in [0, 1]."""
        match self:
            case State.BENIGN:
                return max(1, round(screen_rate * batch))
            case State.CALM:
                return 0
            case State.FEW:
                return max(1, round(FEW_SHARE * batch))
            case State.ALWAYS | State.ALL:
                return batch

    @property
    def passes(self) -> int:
        """By how many passes the ratio is divided before it is compared: the policy states two for a
        screened row, and the limit of ``all`` is per pass."""
        return 2 if self is State.ALL else 1


FEW_SHARE: Final = 0.05
SCREEN_RATE: Final = 0.4
"""The share of benign rows that an export screens by default, for files whose own is not at hand."""
LABELS: Final = {
    State.BENIGN: "`guarded`, ordinary benign traffic",
    State.ALWAYS: "`always`, two passes",
    State.CALM: "`guarded`, no row in pass 2",
    State.FEW: "`guarded`, 5 % to pass 2",
    State.ALL: "`guarded`, every row in pass 2, per pass",
}
BATCHES: Final = (1, 16, 64)

RATIO_LIMITS: Final[dict[State, dict[int, float]]] = {
    State.BENIGN: {},
    State.ALWAYS: {1: 2.15, 16: 2.15, 64: 2.1},
    State.CALM: {1: 1.08, 16: 1.05, 64: 1.04},
    State.FEW: {16: 1.2, 64: 1.12},
    State.ALL: {1: 1.18, 16: 1.15, 64: 1.12},
}
"""Largest ratio to one plain onnxruntime pass, by state and batch; per pass for ``all``. None was set for
``benign``: it is what the others come to at the file's screen rate."""

MEMORY_LIMIT: Final = 1.1
"""Resident memory after load against the plain file's."""
FILE_LIMIT: Final = 1.1
"""File without its bank against the plain file."""
BANK_LIMIT_BYTES: Final = 12_000_000
"""Bank of 1000 classes at 224²."""
CREATION_LIMIT: Final = 1.6
"""Time to open a session against the plain file's."""
OVERHEAD_LIMIT_US: Final = 60.0
"""What ``predict`` adds to a raw ``session.run`` at batch 1."""
BANK_PASS_LIMIT: Final = 0.08
"""Cost of adding a perturbation from the bank, as a share of one MobileNetV2 pass."""
TWIN_AIM: Final = 2.0
"""How many times faster than the eager twin, at batches 1 and 16."""
GRADIENT_AIM: Final = 4.0
"""How many times faster than defences that take gradients when they answer."""


@dataclass(frozen=True)
class Verdict:
    """A measured value beside its limit; judged as it is printed, with `digits` decimals."""

    value: float
    limit: float
    at_least: bool = False
    digits: int = 2

    @property
    def met(self) -> bool:
        """Whether it keeps the limit."""
        value = round(self.value, self.digits)
        return value >= self.limit if self.at_least else value <= self.limit
