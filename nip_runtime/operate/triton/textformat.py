"""Reads and quotes protobuf's text format, in which Triton's ``config.pbtxt`` is written.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/. Extensions and ``Any`` are refused: Triton's
configuration has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?(?:0[xX][0-9A-Fa-f]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?))
    |(?P<word>-?[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    rb"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL
)
_SIMPLE: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_CLOSING: Final = {"{": "}", "<": ">"}
_MAX_DEPTH: Final = 32


class TextFormatError(Exception):
    """The text is not protobuf text format; says in which line."""


class Word(str):
    """An enum value or a boolean, which stands without quotes."""

    __slots__ = ()


@dataclass(frozen=True)
class Entry:
    """One value of a field; a list in the text gives one entry per item."""

    name: str
    value: str | int | float | Message
    line: int


@dataclass(frozen=True)
class Message:
    """The entries of a message, in the order of the text."""

    entries: tuple[Entry, ...]

    def names(self) -> set[str]:
        """The fields that are set."""
        return {entry.name for entry in self.entries}

    def all(self, name: str) -> list[str | int | float | Message]:
        """Every value of a field."""
        return [entry.value for entry in self.entries if entry.name == name]

    def one(self, name: str) -> str | int | float | Message | None:
        """The value of a field that may stand once; None if it is absent.

        Raises:
            TextFormatError: it appears twice, which protobuf refuses too.
        """
        found = [entry for entry in self.entries if entry.name == name]
        if len(found) > 1:
            raise TextFormatError(f"line {found[1].line}: {name} appears twice")
        return found[0].value if found else None

    def messages(self, name: str) -> list[Message]:
        """Every value of a field that holds messages.

        Raises:
            TextFormatError: one of them is no message.
        """
        found = [entry for entry in self.entries if entry.name == name]
        for entry in found:
            if not isinstance(entry.value, Message):
                raise TextFormatError(f"line {entry.line}: {name} is no message {{ … }}")
        return [entry.value for entry in found if isinstance(entry.value, Message)]

    def message(self, name: str) -> Message | None:
        """The value of a field that holds one message.

        Raises:
            TextFormatError: it is no message, or appears twice.
        """
        self.one(name)
        return next(iter(self.messages(name)), None)


def quoted(text: str) -> str:
    """The text as a string literal."""
    escaped = "".join(
        f"\\{character}"
        if character in '"\\'
        else character
        if character.isprintable()
        else "".join(f"\\{byte:03o}" for byte in character.encode())
        for character in text
    )
    return f'"{escaped}"'


def parse(text: str) -> Message:
    """Read a whole message.

    Raises:
        TextFormatError: if the text is anything else.
    """
    return _Reader(list(_tokens(text))).message("", 0)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise TextFormatError(f"line {line}: {text[position : position + 20]!r} has no meaning here")
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found[0], line)
        line += found[0].count("\n")
        position = found.end()
    yield _Token("end", "", line)


class _Reader:
    """Goes through the tokens once."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def message(self, closing: str, depth: int) -> Message:
        """Entries up to ``closing``; "" stands for the end of the text."""
        if depth > _MAX_DEPTH:
            raise self._error(f"messages nested more than {_MAX_DEPTH} deep")
        entries: list[Entry] = []
        while not (self._next.text == closing and self._next.kind in ("mark", "end")):
            entries += self._field(depth)
        self._at += closing != ""
        return Message(tuple(entries))

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _field(self, depth: int) -> list[Entry]:
        name = self._take("word", "a field's name")
        has_colon = self._skip(":")
        line = name.line
        if self._next.text == "[" and self._next.kind == "mark":
            values = self._list(depth, has_colon)
        else:
            values = [self._value(depth, has_colon)]
        if not self._skip(","):
            self._skip(";")
        return [Entry(name.text, value, line) for value in values]

    def _list(self, depth: int, has_colon: bool) -> list[str | int | float | Message]:
        self._at += 1
        values: list[str | int | float | Message] = []
        while not self._skip("]"):
            if values and not self._skip(","):
                raise self._error("expected , or ] in a list")
            values.append(self._value(depth, has_colon))
        return values

    def _value(self, depth: int, has_colon: bool) -> str | int | float | Message:
        token = self._next
        if token.kind == "mark" and token.text in _CLOSING:
            self._at += 1
            return self.message(_CLOSING[token.text], depth + 1)
        if not has_colon:
            raise self._error("expected : or {")
        if token.kind == "string":
            return self._string()
        self._at += 1
        if token.kind == "number":
            return _number(token)
        if token.kind == "word":
            return Word(token.text)
        raise TextFormatError(f"line {token.line}: expected a value, got {token.text or 'the end'!r}")

    def _string(self) -> str:
        """Neighbouring literals are one string."""
        content = b""
        line = self._next.line
        while self._next.kind == "string":
            content += _ESCAPE.sub(_unescaped, self._next.text[1:-1].encode())
            self._at += 1
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise TextFormatError(f"line {line}: a string is not UTF-8") from error

    def _take(self, kind: str, expected: str) -> _Token:
        token = self._next
        if token.kind != kind:
            raise self._error(f"expected {expected}")
        self._at += 1
        return token

    def _skip(self, mark: str) -> bool:
        found = self._next.kind == "mark" and self._next.text == mark
        self._at += found
        return found

    def _error(self, what: str) -> TextFormatError:
        token = self._next
        return TextFormatError(f"line {token.line}: {what}, got {token.text or 'the end'!r}")


def _number(token: _Token) -> int | float:
    digits = token.text.lstrip("-").lower()
    sign = -1 if token.text.startswith("-") else 1
    try:
        if digits.startswith("0x"):
            return sign * int(digits, 16)
        if digits.isdigit():
            return sign * int(digits, 8 if digits.startswith("0") and len(digits) > 1 else 10)
        return sign * float(digits.removesuffix("f"))
    except ValueError as error:
        raise TextFormatError(f"line {token.line}: {token.text!r} is no number") from error


def _unescaped(found: re.Match[bytes]) -> bytes:
    hexadecimal, octal, short, long, other = found.groups()
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    if short is not None or long is not None:
        code = int(short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise TextFormatError(f"a string names no character: {found[0].decode()}")
        return chr(code).encode()
    return _SIMPLE.get(other, other)
