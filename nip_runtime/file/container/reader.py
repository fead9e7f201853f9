"""Walks an ONNX file within the profile's limits, noting what stands in it that the profile does not know.

A plain model may be described with whatever is in it, so what is foreign is noted here and refused later;
what would take the reader itself too long or too much memory is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nip_runtime.file.allowed import LIMITS, Limits
from nip_runtime.file.container import wire
from nip_runtime.file.container.messages import Message
from nip_runtime.file.container.wire import Buffer, Field, WireError, WireType

_NOTED: Final = 4
_SHOWN: Final = 60


class LimitError(WireError):
    """More of something than the profile allows."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


def printable(text: str, most: int = _SHOWN) -> str:
    """``text`` with control characters spelled out, cut at ``most`` characters: safe in a terminal."""
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


class Reader:
    """Reads one buffer.

    Args:
        buffer: the whole file.
        limits: of what it may hold.
    """

    def __init__(self, buffer: Buffer, limits: Limits = LIMITS) -> None:
        self.buffer = buffer
        self.limits = limits
        self.foreign: list[str] = []
        """The first few things outside the profile, in words."""
        self._left = limits.fields

    def note(self, what: str) -> None:
        """Remember something outside the profile."""
        if len(self.foreign) < _NOTED and what not in self.foreign:
            self.foreign.append(what)

    def limit(self, what: str, count: int, most: int) -> None:
        """Refuse more than ``most`` of something.

        Raises:
            LimitError: naming both.
        """
        if count > most:
            raise LimitError(f"at most {most} {what}", str(count))

    def fields(self, start: int, stop: int, message: Message) -> Iterator[Field]:
        """Known fields of the message in ``buffer[start:stop]``, in file order.

        Raises:
            WireError: if the bytes do not follow the wire format, a known field holds another kind of value,
                or the file has too many fields.
        """
        rules, seen = message.rules, 0
        for field in wire.fields(self.buffer, start, stop):
            self._left -= 1
            if self._left < 0:
                raise LimitError(f"at most {self.limits.fields} fields in the file", "more")
            rule = rules.get(field.number)
            if rule is None:
                self.note(message.refused.get(field.number, f"field {field.number} of {message.name}"))
                if field.number in message.refused:
                    yield field
                continue
            kinds, bit = rule
            if field.wire_type not in kinds:
                raise WireError(f"field {field.number} of {message.name} holds another kind of value")
            if seen & bit:
                self.note(f"field {field.number} of {message.name} twice")
            seen |= bit
            yield field

    def inside(self, field: Field, message: Message) -> Iterator[Field]:
        """Fields of the message that ``field`` holds."""
        if field.wire_type is not WireType.BYTES:
            raise WireError(f"field {field.number} holds no message")
        return self.fields(field.start, field.stop, message)

    def name(self, field: Field) -> str:
        """A name, within the limit on its length.

        Raises:
            WireError: if the bytes are not UTF-8, or too many.
        """
        if field.stop - field.start > self.limits.name_bytes:
            raise LimitError(
                f"names of at most {self.limits.name_bytes} bytes", f"{field.stop - field.start} bytes"
            )
        return wire.text(self.buffer, field)
