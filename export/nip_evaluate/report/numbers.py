"""An evaluation as JSON: written for readers that know nothing of this package, and read back strictly.

Its schema is ``report-1.json`` beside this file. Objects have the fields of the dataclasses in
:mod:`nip_evaluate.terms.results` under the same names; a rate also states its value and 95 % interval.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from enum import StrEnum
from importlib.resources import files
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

import numpy as np

from nip_evaluate.terms.results import Evaluation
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Precision
from nip_runtime.file.rates import Rate

SCHEMA_VERSION: Final = "1.3"
"""1.1 added the subject's precision, which is fp32 in older reports; 1.2 what baselines detect; 1.3
the ratio of signal to change."""
_READABLE: Final = ("1.0", "1.1", "1.2", SCHEMA_VERSION)
_TOLERANCE: Final = 1e-9
_FIX: Final = "evaluate the file again"
_KINDS: Final = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of the report."""
    return files("nip_evaluate.report").joinpath("report-1.json").read_text(encoding="utf-8")


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The objects that :mod:`json` writes.

    Raises:
        InputError: naming the field, if a number is not finite or a value is not of its field's type.
    """
    content: dict[str, Any] = _plain(evaluation)
    _decode(Evaluation, content, "$")  # nothing is written that could not be read back
    return {"schema_version": SCHEMA_VERSION, **content}


def dump(evaluation: Evaluation) -> str:
    """The text of ``report.json``.

    Raises:
        InputError: as `to_json`.
    """
    return json.dumps(to_json(evaluation), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def load(text: str) -> Evaluation:
    """Read a report back: `load(dump(evaluation)) == evaluation`.

    Raises:
        InputError: if it is no such report; the message starts with the JSON path of the bad field.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) or "nested too deep"
        raise InputError.mismatch(expected="a report as JSON text", got=reason, fix=_FIX) from error
    if not isinstance(document, dict):
        raise _wrong("$", "an object", document)
    version = document.pop("schema_version", None)
    if version not in _READABLE:
        raise _wrong("$.schema_version", f'"{SCHEMA_VERSION}"', version)
    subject = document.get("subject")
    if version == "1.0" and isinstance(subject, dict):
        document["subject"] = {"precision": str(Precision.FP32)} | subject
    if version in ("1.0", "1.1"):
        _complete(document.get("baselines"), "detected")
    if version != SCHEMA_VERSION:
        _complete([document], "snr_db")
    evaluation: Evaluation = _decode(Evaluation, document, "$")
    return evaluation


def _complete(holders: object, name: str) -> None:
    """Give the attacks of an older report, or of its baselines, a field that is missing there."""
    for holder in holders if isinstance(holders, list) else ():
        attacks = holder.get("attacks") if isinstance(holder, dict) else None
        for attack in attacks if isinstance(attacks, list) else ():
            if isinstance(attack, dict):
                attack.setdefault(name, None)


def _plain(value: object) -> Any:
    if isinstance(value, Rate):
        low, high = value.interval
        return {"count": value.count, "n": value.n, "value": value.value, "low": low, "high": high}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _decode(kind: Any, value: object, where: str) -> Any:
    """Turn ``value``, found at JSON path ``where``, into an instance of the type ``kind``."""
    if kind is Rate:
        return _rate(value, where)
    if is_dataclass(kind):
        make: Any = kind
        hints = get_type_hints(kind)
        found = _object(value, [field.name for field in fields(kind)], where)
        return make(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in found.items()})
    origin = get_origin(kind)
    if origin is UnionType:  # X | None is the only union in the results
        inner = next(option for option in get_args(kind) if option is not type(None))
        return None if value is None else _decode(inner, value, where)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is dict:
        return _free(value, where)
    if issubclass(kind, StrEnum):
        choices = [member.value for member in kind]
        if not isinstance(value, str) or value not in choices:
            raise _wrong(where, f"one of {', '.join(choices)}", value)
        return kind(value)
    return _scalar(kind, value, where)


def _object(value: object, names: list[str], where: str) -> dict[str, Any]:
    """The fields of an object that has exactly these, in this order."""
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    for name in [*names, *value]:
        if name not in value or name not in names:
            got = "no such field" if name in names else "a field that no report has"
            raise InputError(f"{where}.{name}: expected the fields {', '.join(names)}, got {got}; {_FIX}")
    return {name: value[name] for name in names}


def _rate(value: object, where: str) -> Rate:
    found = _object(value, ["count", "n", "value", "low", "high"], where)
    counts = [_scalar(int, found[name], f"{where}.{name}") for name in ("count", "n")]
    try:
        rate = Rate(*counts)
    except ValueError as error:
        raise InputError(f"{where}.{error}; {_FIX}") from error
    for name, expected in zip(("value", "low", "high"), (rate.value, *rate.interval), strict=True):
        stated = _scalar(float, found[name], f"{where}.{name}")
        if abs(stated - expected) > _TOLERANCE:
            raise _wrong(f"{where}.{name}", f"{expected!r} for {rate.count} of {rate.n}", stated)
    return rate


def _tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise _wrong(where, f"a list of {len(kinds)}", value)
    pairs = zip(kinds, value, strict=True)
    return tuple(_decode(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(pairs))


def _free(value: object, where: str) -> dict[str, Any]:
    """An object whose fields are anybody's: numbers, text, lists and objects of those."""
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    _check_free(value, where)
    return value


def _check_free(value: object, where: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise _wrong(where, "text for a name", name)
            _check_free(item, f"{where}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_free(item, f"{where}[{index}]")
    elif value is not None:
        kind = type(value)
        if kind not in _KINDS:
            raise _wrong(where, "a number, text, a list or an object", value)
        _scalar(kind, value, where)


def _scalar(kind: Any, value: object, where: str) -> Any:
    """A number may be written without its point, but a count not with one, and true is no number."""
    if kind is float and type(value) in (int, float):
        number = float(value)  # type: ignore[arg-type]  # an int or a float, see above
        if not math.isfinite(number):
            raise _wrong(where, "a finite number", str(value))
        return number
    if type(value) is not kind:
        raise _wrong(where, _KINDS[kind], value)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no number")


def _wrong(where: str, expected: str, got: object) -> InputError:
    shown = json.dumps(got, ensure_ascii=False, default=lambda other: type(other).__name__)
    return InputError(f"{where}: expected {expected}, got {shown[:60]}; {_FIX}")
