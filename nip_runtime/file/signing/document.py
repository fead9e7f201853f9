"""Reads JSON that nobody vouches for: every field known, each of its type, none of them twice."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nip_runtime.errors import ArtifactError

FIX: Final = "get the original bundle, or sign the file again"
_SHOWN_CHARS: Final = 60


@dataclass(frozen=True)
class Document:
    """One value, and its JSON path for errors. Every method raises ArtifactError if the value is another."""

    where: str
    value: object

    def fields(self, *required: str, optional: tuple[str, ...] = ()) -> Mapping[str, Document]:
        """The fields of an object that has these and no others."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        for name in self.value:
            if name not in required and name not in optional:
                raise ArtifactError.mismatch(
                    expected=f"only {', '.join((*required, *optional))} in {self.where}",
                    got=f"also {shown(name)}",
                    fix=FIX,
                )
        for name in required:
            if name not in self.value:
                raise ArtifactError.mismatch(expected=f"{self.where}.{name}", got="no such field", fix=FIX)
        return {name: Document(f"{self.where}.{name}", value) for name, value in self.value.items()}

    def items(self) -> list[Document]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Document(f"{self.where}[{index}]", item) for index, item in enumerate(self.value)]

    def only(self, what: str) -> Document:
        """The item of a list that holds one."""
        items = self.items()
        if len(items) != 1:
            raise ArtifactError.mismatch(expected=f"one {what} at {self.where}", got=str(len(items)), fix=FIX)
        return items[0]

    def text(self) -> str:
        """Some text."""
        if not isinstance(self.value, str):
            raise self.wrong("text")
        return self.value

    def must_be(self, *allowed: object) -> None:
        """Refuse every value but these."""
        # 1 == True and 1 == 1.0: the types must agree too.
        if not any(type(self.value) is type(value) and self.value == value for value in allowed):
            raise self.wrong(" or ".join(shown(value) for value in allowed))

    def octets(self) -> bytes:
        """Bytes from base64 in its one usual spelling: standard alphabet, padded, no stray bits."""
        text = self.text()
        try:
            octets = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self.wrong("base64") from error
        if base64.b64encode(octets).decode() != text:
            raise self.wrong("base64 in its one usual spelling")
        return octets

    def sha256(self) -> str:
        """The 64 lower-case hexadecimal digits of a SHA-256."""
        text = self.text()
        if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
            raise self.wrong("64 hexadecimal digits of a SHA-256")
        return text

    def wrong(self, expected: str) -> ArtifactError:
        """The error for this value."""
        return ArtifactError.mismatch(expected=f"{expected} at {self.where}", got=shown(self.value), fix=FIX)


def parse(content: bytes, *, where: str) -> Document:
    """Parse JSON strictly: UTF-8, no field twice, no NaN, no depth that overflows.

    Raises:
        ArtifactError: if it is anything else.
    """
    try:
        value = json.loads(
            content.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_fields
        )
    except (ValueError, RecursionError) as error:
        reason = "nesting too deep" if isinstance(error, RecursionError) else f"something else ({error})"
        raise ArtifactError.mismatch(expected=f"{where} as JSON", got=reason, fix=FIX) from error
    return Document(where, value)


def shown(value: object) -> str:
    """A value from a file in an error: one line, cut, and without anything that a terminal would obey."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which JSON does not know")


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"field {shown(name)} twice")
        found[name] = value
    return found
