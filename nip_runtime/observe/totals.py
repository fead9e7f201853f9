"""What was counted so far; adds up over processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from nip_runtime.observe.latency import Latency
from nip_runtime.result import Reason


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Counts of answers since counting began. ``a + b`` adds those of two sessions or processes.

    Every row has exactly one reason, so the first five add up to all rows. There is no policy that abstains:
    under ``detect`` the label is the model's own and the decision is the caller's (``detected``), and the
    only rows without an answer are the refused ones, which is what :attr:`abstained` counts.

    Attributes:
        passed: rows that the gate let pass.
        corrected: rows with a changed label.
        confirmed: rows whose label the defence kept.
        detected: rows that policy detect flagged.
        refused: rows that got no answer because they were no valid input.
        flagged: rows that the gate held for attacked, whatever became of them; refused rows never reached it
            and are not among them, though their flag is set.
        errors: calls that ended without an answer, by the error's class, in alphabetical order.
        latency: of the calls that gave an answer.
    """

    passed: int = 0
    corrected: int = 0
    confirmed: int = 0
    detected: int = 0
    refused: int = 0
    flagged: int = 0
    errors: tuple[tuple[str, int], ...] = ()
    latency: Latency = field(default_factory=Latency)

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if self.flagged > self.rows - self.refused:
            raise ValueError(f"flagged: expected at most {self.rows - self.refused}, got {self.flagged}")

    @property
    def calls(self) -> int:
        """Calls that gave an answer."""
        return self.latency.calls

    @property
    def rows(self) -> int:
        """Rows of all answers, refused ones too."""
        return self.passed + self.corrected + self.confirmed + self.detected + self.refused

    @property
    def abstained(self) -> int:
        """Rows without an answer: the refused ones."""
        return self.refused

    def of(self, reason: Reason) -> int:
        """Rows with this reason."""
        count: int = getattr(self, reason.value)
        return count

    def __add__(self, other: Totals) -> Totals:
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        errors = Counter(dict(self.errors)) + Counter(dict(other.errors))
        return Totals(**counts, errors=tuple(sorted(errors.items())), latency=self.latency + other.latency)


_COUNTS = tuple(each.name for each in fields(Totals) if each.name not in ("errors", "latency"))


def merged(totals: Iterable[Totals]) -> Totals:
    """The sum of any number of snapshots, of none too."""
    return sum(totals, Totals())
