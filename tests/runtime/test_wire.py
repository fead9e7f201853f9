from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nip_runtime.file.container import wire


def test_known_encodings() -> None:
    # From the protobuf encoding guide.
    assert wire.encode_int(1, 150) == bytes.fromhex("089601")
    assert wire.encode_bytes(2, "testing") == bytes.fromhex("120774657374696e67")


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_come_back(value: int) -> None:
    encoded = wire.encode_varint(value)
    read, position = wire.read_varint(encoded, 0, len(encoded))
    assert (wire.signed(read), position) == (value, len(encoded))


@given(st.lists(st.tuples(st.integers(1, 5000), st.binary(max_size=300))))
def test_fields_come_back(parts: list[tuple[int, bytes]]) -> None:
    buffer = b"".join(wire.encode_bytes(number, payload) for number, payload in parts)
    read = [(field.number, buffer[field.start : field.stop]) for field in wire.fields(buffer, 0, len(buffer))]
    assert read == parts


def test_fields_of_every_kind_are_walked() -> None:
    # 1: the number 150; 2: eight bytes; 3: three bytes; 4: four bytes; 5: the number 7.
    buffer = bytes.fromhex("08 9601  11 0102030405060708  1a 03 616263  25 01020304  28 07")
    assert list(wire.fields(buffer, 0, len(buffer))) == [
        (1, wire.WireType.VARINT, 150, 1, 3),
        (2, wire.WireType.FIXED64, 0, 4, 12),
        (3, wire.WireType.BYTES, 0, 14, 17),
        (4, wire.WireType.FIXED32, 0, 18, 22),
        (5, wire.WireType.VARINT, 7, 23, 24),
    ]
    kinds = [field.wire_type.value for field in wire.fields(buffer, 0, len(buffer))]
    assert kinds == [0, 1, 2, 5, 0], "as the guide numbers them"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(buffer: bytes) -> None:
    try:
        stops = [field.stop for field in wire.fields(buffer, 0, len(buffer))]
    except wire.WireError:
        return
    assert stops == sorted(stops)
    assert (stops[-1] if stops else 0) == len(buffer)


def test_packed_and_unpacked_integers_agree() -> None:
    unpacked = wire.encode_int(1, 3) + wire.encode_int(1, -4)
    packed = wire.encode_bytes(1, wire.encode_varint(3) + wire.encode_varint(-4))
    for buffer in (unpacked, packed):
        found = [v for field in wire.fields(buffer, 0, len(buffer)) for v in wire.integers(buffer, field, 2)]
        assert found == [3, -4]


def test_more_packed_integers_than_allowed_are_refused() -> None:
    buffer = wire.encode_bytes(1, b"\x00" * 1000)
    (field,) = wire.fields(buffer, 0, len(buffer))
    with pytest.raises(wire.WireError, match="more than 999 numbers in field 1"):
        wire.integers(buffer, field, 999)


@pytest.mark.parametrize(
    ("buffer", "is_truncated"),
    [
        (b"\x0a\x05ab", True),
        (b"\x08", True),
        (b"\x0b", False),
        (b"\x00", False),
        (b"\x08" + b"\xff" * 11, False),
    ],
)
def test_tells_cut_off_from_wrong(buffer: bytes, is_truncated: bool) -> None:
    with pytest.raises(wire.WireError) as caught:
        list(wire.fields(buffer, 0, len(buffer)))
    assert caught.value.truncated is is_truncated
