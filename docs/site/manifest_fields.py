"""The reference of the manifest: every field of its JSON Schema, with type, limits and meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from nip_runtime.file import manifest
from nip_runtime.file.manifest.model import ADDED

SCHEMA: Final = Path(manifest.__file__).with_name("schema-1.json")
_SINCE: Final = {field: f"1.{minor}" for minor, fields in ADDED.items() for field in fields}
_LIMITS: Final = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "pattern": "`{}`",
}
Schema = Mapping[str, Any]


def reference() -> str:
    """Markdown: a table of the fields on top, then one for each object."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return "\n".join(_tables(schema))


def _tables(schema: Schema) -> Iterator[str]:
    objects: list[tuple[str, Schema]] = [("the manifest", schema)]
    while objects:
        name, own = objects.pop(0)
        yield from (f"### {name}" if name == "the manifest" else f"### `{name}`", "")
        if name != "the manifest" and (about := _about(own, schema)):
            yield from (f"{about[0].upper()}{about[1:]}.", "")
        yield from ("| field | type | since | meaning |", "|---|---|---|---|")
        for field, given in own["properties"].items():
            inner = _object(given, schema)
            kind = _kind(given, schema)
            since = _SINCE.get(field, "1.0") if own is schema else ""
            optional = "" if field in own.get("required", ()) or own is schema else "; may be absent"
            yield f"| `{field}` | {kind}{optional} | {since} | {_about(given, schema)} |"
            if inner is not None and not _is_rate(given):
                objects.append((field if own is schema else f"{name}.{field}", inner))
        yield ""


def _followed(given: Schema, schema: Schema) -> Schema:
    if "$ref" in given:
        found: Schema = schema["$defs"][given["$ref"].rpartition("/")[2]]
        return found
    return given


def _is_rate(given: Schema) -> bool:
    options = [given, *given.get("anyOf", ())]
    return any(option.get("$ref", "").endswith("/rate") for option in options)


def _object(given: Schema, schema: Schema) -> Schema | None:
    """The object that a field holds, or holds a list of."""
    for option in (given, *given.get("anyOf", ())):
        own = _followed(option, schema)
        if "properties" in own:
            return own
        if isinstance(own.get("items"), Mapping) and (inner := _object(own["items"], schema)):
            return inner
    return None


def _kind(given: Schema, schema: Schema) -> str:
    if _is_rate(given):
        return "rate or null" if "anyOf" in given else "rate"
    if "anyOf" in given:
        return " or ".join(_kind(option, schema) for option in given["anyOf"])
    own = _followed(given, schema)
    if "enum" in own:
        return " or ".join("null" if value is None else f"`{value}`" for value in own["enum"])
    if "const" in own:
        return f"`{own['const']}`"
    types = own.get("type", "object")
    words = [types] if isinstance(types, str) else list(types)
    if "items" in own and "array" in words:
        words[words.index("array")] = f"list of {_kind(own['items'], schema)}"
    limits = [text.format(own[key]) for key, text in _LIMITS.items() if key in own]
    return " or ".join(words) + (f" {', '.join(limits)}" if limits else "").replace("|", "\\|")


def _about(given: Schema, schema: Schema) -> str:
    return str(given.get("description", _followed(given, schema).get("description", ""))).replace("|", "\\|")
