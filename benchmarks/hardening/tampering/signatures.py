"""A bundle's signature in other encodings, and other numbers as signatures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from benchmarks.hardening.tampering.bundles import Variant
from nip_runtime.file.signing.envelope import decode_bundle

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256's group. Source: NIST SP 800-186, 3.2.1.3."""
_INTEGER: Final = 0x02
_SEQUENCE: Final = 0x30


def signature_variants(bundle: bytes) -> Iterator[Variant]:
    """Encodings that are not DER, and numbers that are no signature of this statement."""
    envelope = decode_bundle(bundle)
    der = envelope.signature
    r, s = _numbers(der)
    negative = _tagged(_INTEGER, (s - (1 << 256)).to_bytes(33, signed=True))
    for what, changed in (
        ("a long form of its length", der[:1] + b"\x81" + der[1:]),
        ("an indefinite length", der[:1] + b"\x80" + der[2:] + b"\0\0"),
        ("a tail", der + b"\0"),
        ("a tail inside", _sequence(_integer(r), _integer(s), b"\x05\0")),
        ("a padded first number", _sequence(_integer(r, pad=1), _integer(s))),
        ("a padded second number", _sequence(_integer(r), _integer(s, pad=3))),
        ("64 raw bytes", r.to_bytes(32) + s.to_bytes(32)),
        ("its numbers exchanged", _sequence(_integer(s), _integer(r))),
        ("zeros", _sequence(_integer(0), _integer(0))),
        ("ones", _sequence(_integer(1), _integer(1))),
        ("the group's order", _sequence(_integer(ORDER), _integer(ORDER))),
        ("a first number beyond the order", _sequence(_integer(r + ORDER), _integer(s))),
        ("a second number beyond the order", _sequence(_integer(r), _integer(s + ORDER))),
        ("a negative second number", _sequence(_integer(r), negative)),
        ("one number", _sequence(_integer(r))),
        ("an empty sequence", _sequence()),
        ("nothing", b""),
    ):
        yield Variant(f"signature with {what}", replace(envelope, signature=changed).encode())


def twin(bundle: bytes) -> Variant:
    """The same statement under (r, −s), which is the other signature that ECDSA knows for each (r, s).

    Anybody can make it, and it says what the first one says: by the same key, over the same bytes.
    """
    envelope = decode_bundle(bundle)
    r, s = _numbers(envelope.signature)
    changed = _sequence(_integer(r), _integer(ORDER - s))
    return Variant("twin", replace(envelope, signature=changed).encode())


def _numbers(der: bytes) -> tuple[int, int]:
    first = der[3]
    return int.from_bytes(der[4 : 4 + first]), int.from_bytes(der[6 + first :])


def _integer(value: int, *, pad: int = 0) -> bytes:
    return _tagged(_INTEGER, bytes(pad) + value.to_bytes(value.bit_length() // 8 + 1))


def _sequence(*parts: bytes) -> bytes:
    return _tagged(_SEQUENCE, b"".join(parts))


def _tagged(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content
