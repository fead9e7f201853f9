"""Where an evaluation writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvaluationPaths:
    """The files of one evaluation, all in one folder."""

    folder: Path

    @property
    def numbers(self) -> Path:
        """Every number as JSON; the schema is report/report-1.json in this package."""
        return self.folder / "report.json"

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.folder / "report.html"

    @property
    def attacks(self) -> Path:
        """Finished attacks, kept for the next run."""
        return self.folder / "attacks"
