"""How manifests refuse bad values: one sentence that names field and value."""

from __future__ import annotations


def require(condition: bool, field: str, expected: str, got: object) -> None:
    """Raise ValueError naming the field, what it should be and what it is, unless the condition holds."""
    if not condition:
        raise ValueError(f"{field}: expected {expected}, got {got!r}")
