"""Documents that differ from a JSON document in one place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

_OTHERS: Final[tuple[object, ...]] = (
    *(None, True, False, 0, 1, -1, 1.5),
    *("", " ", ".", "x" * 64, "0" * 64),
    *([], {}, [[]], [{}], {"": 0}),
)
_RAW: Final = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', "[" * 20_000, "{" * 10)

Place = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


def edits(document: Any, *, free: Mapping[Place, type] | None = None) -> Iterator[tuple[str, str]]:
    """JSON texts, each with how it differs: a value of another kind, a field missing, twice or added.

    Args:
        document: what to change.
        free: places where any value of a type would be right.
    """
    free = free or {}
    for place, value in _places(document):
        yield from _replacements(document, place, free.get(place))
        shown = dotted(place)
        if isinstance(value, dict):
            yield f"more in {shown}", json.dumps(put(document, (*place, "more"), 1))
        if place:
            yield f"no {shown}", json.dumps(without(document, place))
        if place and isinstance(place[-1], str):
            yield from _doubles(document, place, value)


def put(document: Any, place: Place, value: object) -> Any:
    """A copy with another value at a place; what stands right after a list's last item is appended."""
    if not place:
        return value
    changed = copy.deepcopy(document)
    holder = at(changed, place[:-1])
    if isinstance(holder, list) and place[-1] == len(holder):
        holder.append(value)
    else:
        holder[place[-1]] = value
    return changed


def without(document: Any, place: Place) -> Any:
    """A copy without a place."""
    changed = copy.deepcopy(document)
    at(changed, place[:-1]).pop(place[-1])
    return changed


def at(document: Any, place: Place) -> Any:
    """What stands at a place."""
    for name in place:
        document = document[name]
    return document


def dotted(place: Place) -> str:
    """A place for people."""
    return ".".join(str(name) for name in place) or "all"


def _replacements(document: Any, place: Place, free: type | None) -> Iterator[tuple[str, str]]:
    shown, value = dotted(place), at(document, place)
    for other in _OTHERS:
        # As JSON: 1 == True in Python.
        if json.dumps(other) != json.dumps(value) and type(other) is not free:
            yield f"{shown} {other!r}", json.dumps(put(document, place, other))
    marked = json.dumps(put(document, place, "\0"))
    for raw in _RAW:
        if not (raw.startswith('"') and free is str):
            yield f"{shown} {raw[:12]}", marked.replace('"\\u0000"', raw)


def _doubles(document: Any, place: Place, value: object) -> Iterator[tuple[str, str]]:
    text, name, shown = json.dumps(document), json.dumps(place[-1]), dotted(place)
    field, other = f"{name}: {json.dumps(value)}", f"{name}: 0"
    for what, fields in (
        ("twice", f"{field}, {field}"),
        ("twice, the first another", f"{other}, {field}"),
        ("twice, the second another", f"{field}, {other}"),
    ):
        yield f"{shown} {what}", text.replace(field, fields, 1)


def _places(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    yield place, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield from _places(inner, (*place, name))
