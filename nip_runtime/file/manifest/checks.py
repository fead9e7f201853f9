"""How manifests refuse bad values: one sentence that names field and value."""

from __future__ import annotations

import math
from collections.abc import Sequence


def require(condition: bool, field: str, expected: str, got: object) -> None:
    """Raise ValueError naming the field, what it should be and what it is, unless the condition holds."""
    if not condition:
        raise ValueError(f"{field}: expected {expected}, got {got!r}")


def require_finite(field: str, values: Sequence[float]) -> None:
    """The same for numbers that must be finite."""
    require(all(math.isfinite(value) for value in values), field, "finite numbers", values)
