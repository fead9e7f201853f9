"""The protobuf wire format: just enough to walk and to write a message without a schema compiler.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

Buffer = bytes
"""A file's bytes, in memory: nobody can change or cut them between the check and the run."""

_MAX_VARINT_BYTES = 10


class WireError(Exception):
    """The bytes are not a protobuf message. ``truncated`` tells a cut-off one from a wrong one."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


class WireType(IntEnum):
    """How a field's value is laid out."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


_WIRE_TYPES: Final = tuple(next((kind for kind in WireType if kind == code), None) for code in range(8))


_VARINT: Final = WireType.VARINT
_FIXED64: Final = WireType.FIXED64
_BYTES: Final = WireType.BYTES
"""An attribute of an enum takes longer to look up than a name."""


class Field(NamedTuple):
    """One field as it stands in the buffer.

    ``start``/``stop`` bound the payload; ``value`` is the number of a VARINT field and 0 otherwise.
    """

    number: int
    wire_type: WireType
    value: int
    start: int
    stop: int


_made: Final = tuple.__new__
"""``Field(…)`` without the call in Python that a NamedTuple's own constructor is."""


def read_varint(buffer: Buffer, position: int, stop: int) -> tuple[int, int]:
    """Read one base-128 number, returning (value, position after it)."""
    if position < stop and buffer[position] < 0x80:  # nearly all of them
        return buffer[position], position + 1
    result = 0
    for index in range(_MAX_VARINT_BYTES):
        if position >= stop:
            raise WireError("a number runs past its message", truncated=True)
        byte = buffer[position]
        position += 1
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, position
    raise WireError(f"a number is longer than {_MAX_VARINT_BYTES} bytes")


def signed(value: int) -> int:
    """Read an unsigned 64-bit value as the int64 it encodes."""
    return value - (1 << 64) if value >> 63 else value


def fields(buffer: Buffer, start: int, stop: int) -> Iterator[Field]:
    """Walk the fields of the message in ``buffer[start:stop]``, in file order.

    Raises:
        WireError: if the bytes do not follow the wire format.
    """
    position = start
    while position < stop:
        # One-byte tags and lengths are nearly all there are: a call for each would cost the most of a walk.
        tag = buffer[position]
        if tag < 0x80:
            begin = position + 1
        else:
            tag, begin = read_varint(buffer, position, stop)
        number, wire_type = tag >> 3, _WIRE_TYPES[tag & 7]
        if number == 0:
            raise WireError("field number 0")
        if wire_type is None:
            raise WireError(f"wire type {tag & 7} in field {number}")
        value = 0
        if wire_type is _BYTES:
            if begin < stop and buffer[begin] < 0x80:
                length, begin = buffer[begin], begin + 1
            else:
                length, begin = read_varint(buffer, begin, stop)
            end = begin + length
        elif wire_type is _VARINT:
            if begin < stop and buffer[begin] < 0x80:
                value, end = buffer[begin], begin + 1
            else:
                value, end = read_varint(buffer, begin, stop)
        else:
            end = begin + (8 if wire_type is _FIXED64 else 4)
        if end > stop:
            raise WireError(f"field {number} ends at byte {end}, its message at byte {stop}", truncated=True)
        yield _made(Field, (number, wire_type, value, begin, end))
        position = end


def integers(buffer: Buffer, field: Field, most: int) -> list[int]:
    """Values of a repeated int64 field, packed or not.

    Raises:
        WireError: if there are more than ``most``, or they are cut off.
    """
    if field.wire_type is WireType.VARINT:
        return [signed(field.value)]
    values: list[int] = []
    position = field.start
    while position < field.stop:
        value, position = read_varint(buffer, position, field.stop)
        values.append(signed(value))
        if len(values) > most:
            raise WireError(f"more than {most} numbers in field {field.number}")
    return values


def text(buffer: Buffer, field: Field) -> str:
    """Value of a string field.

    Raises:
        WireError: if the bytes are not UTF-8.
    """
    try:
        return buffer[field.start : field.stop].decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"field {field.number} is not UTF-8 text") from error


def encode_varint(value: int) -> bytes:
    """Base-128 form of an int64."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_int(number: int, value: int) -> bytes:
    """A VARINT field."""
    return encode_varint(number << 3 | WireType.VARINT) + encode_varint(value)


def encode_start(number: int, size_bytes: int) -> bytes:
    """What stands before the payload of a length-delimited field."""
    return encode_varint(number << 3 | WireType.BYTES) + encode_varint(size_bytes)


def encode_bytes(number: int, value: bytes | str) -> bytes:
    """A length-delimited field: bytes, text or a finished message."""
    payload = value.encode("utf-8") if isinstance(value, str) else value
    return encode_start(number, len(payload)) + payload


def encode_each(number: int, values: Iterable[bytes | str]) -> bytes:
    """A repeated length-delimited field."""
    return b"".join(encode_bytes(number, value) for value in values)
