"""What a file says about its own reach: which classes had images, and what it can and cannot detect."""

from __future__ import annotations

from dataclasses import dataclass

from nip_runtime.file.manifest.checks import require
from nip_runtime.file.rates import Rate


@dataclass(frozen=True, kw_only=True)
class CoverageInfo:
    """Which classes the exporter saw rightly classified profile images of.

    ``with_images`` and ``without_images`` add up to all classes; ``few_images`` of the former had fewer than
    ten. ``pooled`` names what is judged by statistics of all classes together, ``silent`` the tests that say
    nothing about classes without images, or with next to none where others have many.
    """

    with_images: int
    few_images: int
    without_images: int
    pooled: tuple[str, ...]
    silent: tuple[str, ...]

    def __post_init__(self) -> None:
        require(self.with_images >= 1, "with_images", "at least 1", self.with_images)
        fits = 0 <= self.few_images <= self.with_images
        require(fits, "few_images", f"0 to {self.with_images}", self.few_images)
        require(self.without_images >= 0, "without_images", "0 or more", self.without_images)


@dataclass(frozen=True, kw_only=True)
class VerdictInfo:
    """What calibration says the gate can and cannot tell, in plain sentences and in the numbers behind them.

    ``early_knows`` is the share of the label's information that the early layers have. ``swapped`` counts
    benign images whose second look was another class's: flagged by both passes; ``reached`` those that are
    flagged when the screen has to send them on first. ``allowed_flags`` is how many of the rightly classified
    calibration images the budget lets the gate flag. No attack took part in any of it.
    """

    detects: tuple[str, ...]
    misses: tuple[str, ...]
    advice: tuple[str, ...]
    early_knows: float
    swapped: Rate
    reached: Rate
    allowed_flags: int

    def __post_init__(self) -> None:
        require(len(self.misses) > 0, "misses", "at least one limit", self.misses)
        require(0 <= self.early_knows <= 1, "early_knows", "a share", self.early_knows)
        require(self.allowed_flags >= 0, "allowed_flags", "0 or more", self.allowed_flags)
