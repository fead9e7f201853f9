"""What one attack did to one defence, image by image: what every score is counted from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.threats import AttackCase, Labels
from nip_runtime.errors import InputError

Flags = NDArray[np.bool_]
"""(n,) bool, one entry per image."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A defence's answers to the first n images before and after an attack.

    Attributes:
        case: the attack.
        truth: (n,) int64 true classes.
        benign: answers to the n images as they were.
        answers: answers to the same images attacked.

    Raises:
        InputError: if the three are not about equally many images, or about none.
    """

    case: AttackCase
    truth: Labels
    benign: Answers
    answers: Answers

    def __post_init__(self) -> None:
        count = len(self.truth)
        if count == 0:
            raise InputError.mismatch(
                expected=f"at least one image attacked by {self.case.name}",
                got="none",
                fix="give more images",
            )
        if not len(self.benign) == len(self.answers) == count:
            raise InputError.mismatch(
                expected=f"answers to the same {count} images before and after {self.case.name}",
                got=f"{len(self.benign)} before and {len(self.answers)} after",
                fix="cut the benign answers to the attacked images",
            )

    @classmethod
    def of(cls, case: AttackCase, *, truth: Labels, benign: Answers, answers: Answers) -> Outcome:
        """Build from true classes of, and answers to, all benign images; the first n were attacked."""
        rows = slice(len(answers))
        return cls(case, truth[rows], benign.take(rows), answers)

    def __len__(self) -> int:
        return len(self.truth)

    def first(self, count: int) -> Outcome:
        """The outcome on the first images alone."""
        rows = slice(count)
        return Outcome(self.case, self.truth[rows], self.benign.take(rows), self.answers.take(rows))

    @property
    def raw_right(self) -> Flags:
        """(n,): the undefended network labels the attacked image rightly."""
        return _equal(self.answers.raw_labels, self.truth)

    @property
    def right(self) -> Flags:
        """(n,): the defence labels the attacked image rightly."""
        return _equal(self.answers.labels, self.truth)

    @property
    def right_before(self) -> Flags:
        """(n,): the defence labels the benign image rightly."""
        return _equal(self.benign.labels, self.truth)

    @property
    def raw_right_before(self) -> Flags:
        """(n,): the undefended network labels the benign image rightly."""
        return _equal(self.benign.raw_labels, self.truth)

    @property
    def successful(self) -> Flags:
        """(n,): the undefended network was right before the attack and is wrong after it."""
        return self.raw_right_before & ~self.raw_right

    @property
    def repaired(self) -> Flags:
        """(n,): successes of the attack that the defence labels rightly."""
        return self.successful & self.right


def refuse_mixed_threats(cases: Iterable[AttackCase]) -> None:
    """Refuse a mean over core attacks of several threat models.

    Raises:
        InputError: naming the threat models.
    """
    threats = sorted({str(case.threat) for case in cases if case.core})
    if len(threats) > 1:
        raise InputError.mismatch(
            expected="core attacks of one threat model", got=", ".join(threats), fix="average each on its own"
        )


def _equal(labels: Labels, truth: Labels) -> Flags:
    same: Flags = labels == truth
    return same
