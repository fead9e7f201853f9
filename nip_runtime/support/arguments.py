"""Refuses plain numbers that have no meaning, where a caller hands them over."""

from __future__ import annotations

from nip_runtime.errors import InputError


def check_whole(name: str, value: object, *, least: int = 1, most: int | None = None) -> None:
    """Refuse a value that is no whole number within its bounds; True and 2.0 are none.

    Raises:
        InputError: naming it.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and least <= value and (most is None or value <= most):  # type: ignore[operator]
        return
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise InputError.mismatch(
        expected=f"{name} {bounds}", got=repr(value), fix="pass a whole number within these bounds"
    )


def check_share(name: str, value: object) -> None:
    """Refuse a value that is no number between 0 and 1, both left out.

    Raises:
        InputError: naming it.
    """
    if not (isinstance(value, int | float) and 0 < value < 1):
        raise InputError.mismatch(
            expected=f"{name} between 0 and 1", got=repr(value), fix="pass a number such as 0.99 or 0.01"
        )
