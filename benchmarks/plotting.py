"""How the benchmarks' plots look, and how they are written: the same results give the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

SETTINGS: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nip-runtime",
    "font.family": "sans-serif",
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""For matplotlib's ``rc_context``."""


def save(figure: Any, path: Path, pyplot: Any) -> None:
    """Write a figure, without a date, and forget it."""
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    pyplot.close(figure)
