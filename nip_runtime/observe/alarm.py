"""What a drift watch says: an alarm, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nip_runtime.file.rates import Rate
from nip_runtime.observe.expected import Expected


class Direction(StrEnum):
    """Which side of the interval the rate left."""

    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """The rate has left the interval.

    Attributes:
        direction: on which side.
        row: rows watched up to here.
        seen: flags among the rows since the change most probably began.
        expected: the interval that it left.
        e_value: the evidence.
        threshold: that it had to reach.
    """

    direction: Direction
    row: int
    seen: Rate
    expected: Expected
    e_value: float
    threshold: float

    def __str__(self) -> str:
        return (
            f"flag rate {self.direction} what was expected: {self.seen.value:.2%} ({self.seen.count} of the "
            f"last {self.seen.n} rows), expected {self.expected}; e-value {self.e_value:.3g} against "
            f"{self.threshold:.3g}, after {self.row} rows"
        )


@dataclass(frozen=True, kw_only=True)
class DriftState:
    """Where a watch stands.

    Attributes:
        expected: None while it is being learned.
        rows: watched so far, refused ones left out.
        flagged: of these.
        evidence_above: for a rate above the interval, since the start or the last alarm; 0 if that cannot be.
        evidence_below: for one below it.
        threshold: at which evidence is an alarm.
        alarms_above: so far.
        alarms_below: so far.
        last_alarm: None before the first.
    """

    expected: Expected | None
    rows: int
    flagged: int
    evidence_above: float
    evidence_below: float
    threshold: float
    alarms_above: int
    alarms_below: int
    last_alarm: Alarm | None
