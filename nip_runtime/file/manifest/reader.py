"""Reads a manifest strictly: every field present, nothing unknown, every type and value right."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import LIMITS, Limits
from nip_runtime.file.container.reader import printable
from nip_runtime.file.manifest.model import ADDED, OPTIONAL, SCHEMA_VERSION, Manifest, plain
from nip_runtime.file.rates import Rate

_RATE_TOLERANCE: Final = 1e-6
_STRUCTURE: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|([\[\]{}])', re.DOTALL)
"""Strings, which are passed over, and brackets. An unclosed string goes on to the end: one pass will do."""
_SHOWN: Final = 400
_MOST: Final = 2**63 - 1
"""The largest whole number: what other languages' readers can hold, and floats come near."""
_KINDS: Final = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def read_manifest(text: str, *, limits: Limits = LIMITS) -> Manifest:
    """Read a manifest from its JSON text.

    Fields that this version does not know are errors, unless the manifest states a newer minor version of the
    same major one: then they are additions, and ignored. Fields that the stated version did not have yet may
    be absent, and get the default that describes such files.

    Raises:
        ArtifactError: if anything is wrong; the message starts with the JSON path of the bad field.
    """
    _check_size(text, limits)
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        reason = str(error) or "nested too deep"
        raise ArtifactError.mismatch(
            expected="a manifest as JSON text", got=reason, fix="export the model again"
        ) from error
    if not isinstance(document, dict):
        raise _wrong("$", "an object", document)
    minor, own_minor = _minor_version(document), int(SCHEMA_VERSION.partition(".")[2])
    later = frozenset(name for added, names in ADDED.items() if added > minor for name in names)
    decoder = _Decoder(ignore_unknown=minor > own_minor, optional=later | OPTIONAL)
    decoded: Manifest = decoder.decode(Manifest, document, "$")
    return decoded


def _check_size(text: str, limits: Limits) -> None:
    """Refuse what would take the parser long, before it starts."""
    if len(text) > limits.manifest_bytes:
        raise ArtifactError.mismatch(
            expected=f"a manifest of at most {limits.manifest_bytes} bytes",
            got=f"{len(text)} characters",
            fix="export the model again",
        )
    depth = 0
    for found in _STRUCTURE.finditer(text):
        bracket = found[1]
        if bracket is not None:
            depth += 1 if bracket in "[{" else -1
        if depth > limits.manifest_depth:
            raise ArtifactError.mismatch(
                expected=f"a manifest of at most {limits.manifest_depth} objects and lists in each other",
                got="more",
                fix="export the model again",
            )


def _minor_version(document: dict[str, Any]) -> int:
    """The minor version that the manifest states. Raises for one that this reader can't read."""
    where = "$.schema_version"
    if "schema_version" not in document:
        raise ArtifactError(f"{where}: expected a version, got no such field; export the model again")
    version = document["schema_version"]
    own_major = int(SCHEMA_VERSION.partition(".")[0])
    parts = version.split(".") if isinstance(version, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise _wrong(where, f"a version such as {SCHEMA_VERSION!r}", version)
    major, minor = (int(part) for part in parts)
    if major != own_major:
        cure = "upgrade nip-runtime" if major > own_major else "export the model again"
        raise ArtifactError(f"{where}: expected major version {own_major}, got {version!r}; {cure}")
    return minor


@dataclass(frozen=True)
class _Decoder:
    ignore_unknown: bool
    optional: frozenset[str]
    """Fields that may be absent, by their path from the manifest."""

    def decode(self, kind: Any, value: object, where: str) -> Any:
        """Turn ``value``, found at JSON path ``where``, into an instance of the type ``kind``."""
        if kind is Rate:
            return self._rate(value, where)
        if is_dataclass(kind):
            return self._object(kind, value, where)
        if get_origin(kind) is UnionType:  # X | None is the only union in the model
            inner = next(option for option in get_args(kind) if option is not type(None))
            return None if value is None else self.decode(inner, value, where)
        if get_origin(kind) is tuple:
            return self._tuple(get_args(kind), value, where)
        if issubclass(kind, StrEnum):
            choices = [str(member) for member in kind]
            if not isinstance(value, str) or value not in choices:
                raise _wrong(where, f"one of {', '.join(choices)}", value)
            return kind(value)
        return _scalar(kind, value, where)

    def _object(self, kind: Any, value: object, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        hints = _hints(kind)
        known = list(hints)
        unknown = [name for name in value if name not in known]
        if unknown and not self.ignore_unknown:
            raise ArtifactError(
                f"{where}.{printable(unknown[0])}: expected only known fields ({', '.join(known)}),"
                " got this one; export the model again"
            )
        for name in known:
            if name not in value and f"{where}.{name}".removeprefix("$.") not in self.optional:
                raise ArtifactError(
                    f"{where}.{name}: expected this field, got an object without it; export the model again"
                )
        arguments = {
            name: self.decode(hints[name], value[name], f"{where}.{name}") for name in known if name in value
        }
        try:
            return kind(**arguments)
        except ValueError as error:
            raise ArtifactError(f"{where}.{printable(str(error), _SHOWN)}; export the model again") from error

    def _tuple(self, kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        if kinds[-1] is not Ellipsis and len(value) != len(kinds):
            raise _wrong(where, f"a list of {len(kinds)}", value)
        return tuple(self.decode(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value))

    def _rate(self, value: object, where: str) -> Rate:
        stated = self._object(_StatedRate, value, where)
        return Rate(stated.count, stated.n)


@dataclass(frozen=True)
class _StatedRate:
    """A rate as the JSON spells it out, for readers that know no Wilson interval."""

    count: int
    n: int
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for name, expected in plain(Rate(self.count, self.n)).items():
            stated = getattr(self, name)
            if abs(stated - expected) > _RATE_TOLERANCE:
                raise ValueError(
                    f"{name}: expected {expected:.6g} for {self.count} of {self.n}, got {stated!r}"
                )


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, by name: most kinds stand in a manifest more than once."""
    types = get_type_hints(kind)
    return {field.name: types[field.name] for field in fields(kind)}


def _scalar(kind: Any, value: object, where: str) -> Any:
    """JSON knows one number type: 3.0 may stand for 3 and 3 for 3.0, but true is no number."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise _wrong(where, "a finite number", str(value))
        return number
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        raise _wrong(where, _KINDS[kind], value)
    if isinstance(value, int) and abs(value) > _MOST:
        raise _wrong(where, f"a whole number up to {_MOST}", value)
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise _wrong(where, "text that can be written down", ascii(value))
    return value


def _wrong(where: str, expected: str, got: object) -> ArtifactError:
    shown = printable(json.dumps(got, ensure_ascii=False))
    return ArtifactError(f"{where}: expected {expected}, got {shown}; export the model again")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which JSON does not know")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"field {printable(counts.most_common(1)[0][0])!r} twice")
    return found
