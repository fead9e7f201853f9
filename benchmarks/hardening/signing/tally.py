"""Tries that went as they must, and those that did not."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.hardening.record import Count


@dataclass
class Tally:
    """How many tries went as they must, and the first that did not."""

    tried: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, what: str, *, right: bool) -> None:
        """Count one."""
        self.tried += 1
        self.right += right
        if not right and len(self.wrong) < 10:
            self.wrong.append(what)

    def count(self, what: str) -> Count:
        """As a count that promises all of them."""
        right = self.right == self.tried > 0
        return Count(what=what, value=self.right, of=self.tried, wanted="all", met=right)
