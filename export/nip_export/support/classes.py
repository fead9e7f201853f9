"""Classes as messages name them: by name and number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_LISTED: Final = 5


def named_classes(numbers: Iterable[int], names: Sequence[str] | None) -> str:
    """A few classes in words, such as "cat (3), dog (5) and 2 more"; without names "class 3, class 5".

    Args:
        numbers: of the classes.
        names: of all classes, in the order of the logits; None if unknown. Numbers beyond them have none.
    """
    listed = sorted({int(number) for number in numbers})
    known = names if names is not None else ()
    words = [
        f"{known[number]} ({number})" if number < len(known) else f"class {number}"
        for number in listed[:_LISTED]
    ]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(words) + more
