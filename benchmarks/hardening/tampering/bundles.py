"""Bundles that were changed by someone without the key."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.hardening.tampering.edits import Place, at, dotted, edits, put, without

_ENVELOPE: Final = "dsseEnvelope"
_MATERIAL: Final = "verificationMaterial"
_SIGNATURES: Final = (_ENVELOPE, "signatures")
_SIG: Final = (*_SIGNATURES, 0, "sig")
_HINT: Final = (_MATERIAL, "publicKey", "hint")
_PAYLOAD: Final = (_ENVELOPE, "payload")
_EMPTY: Final[tuple[Place, ...]] = ((*_SIGNATURES, 0, "keyid"), (_MATERIAL, "tlogEntries"))
"""Fields that stand for nothing and may be missing."""
_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@dataclass(frozen=True)
class Variant:
    """A bundle, and how it differs from a good one."""

    what: str
    bundle: bytes


def byte_variants(bundle: bytes, *, values: int) -> Iterator[Variant]:
    """Every byte replaced by ``values`` (at most 255) others."""
    for position in range(len(bundle)):
        for change in range(1, values + 1):
            changed = bytearray(bundle)
            changed[position] ^= change
            yield Variant(f"byte {position} xor {change}", bytes(changed))


def file_variants(bundle: bytes) -> Iterator[Variant]:
    """Cut off, prolonged, in another encoding, or another file altogether."""
    for length in range(0, len(bundle), 7):
        yield Variant(f"cut after {length} bytes", bundle[:length])
    tails = (("a NUL", b"\0"), ("a brace", b"}"), ("itself", bundle), ("4 MiB of spaces", b" " * (4 << 20)))
    for what, tail in tails:
        yield Variant(f"followed by {what}", bundle + tail)
    for what, changed in (
        ("UTF-16", bundle.decode().encode("utf-16")),
        ("a byte-order mark before it", b"\xef\xbb\xbf" + bundle),
        ("Latin-1", bundle.replace(b"v0.3+json", b"v0.3+js\xf6n")),
        ("100,000 brackets", b"[" * 100_000),
        ("30,000 brackets", b"[" * 30_000),
        ("an empty object", b"{}"),
        ("null", b"null"),
    ):
        yield Variant(what, changed)


def field_variants(bundle: bytes) -> Iterator[Variant]:
    """Fields missing, twice, unknown, of another type or value."""
    document = json.loads(bundle)
    for what, text in edits(document):
        if what not in {f"no {dotted(place)}" for place in _EMPTY}:
            yield Variant(what, text.encode())
    good = at(document, (*_SIGNATURES, 0))
    places: tuple[tuple[str, Place, object], ...] = (
        ("no signature", _SIGNATURES, []),
        ("the signature twice", _SIGNATURES, [good, good]),
        ("a second signature", _SIGNATURES, [good, {"sig": "MAA=", "keyid": ""}]),
        ("an empty signature first", _SIGNATURES, [{"sig": "", "keyid": ""}, good]),
        ("payload type text", (_ENVELOPE, "payloadType"), "text/plain"),
        ("payload type in capitals", (_ENVELOPE, "payloadType"), "APPLICATION/VND.IN-TOTO+JSON"),
        ("version 0.1", ("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.1"),
        ("version 0.2", ("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.2"),
        ("a log entry", (_MATERIAL, "tlogEntries"), [{"logIndex": "1"}]),
        ("a certificate", (_MATERIAL, "certificate"), {"rawBytes": "MAA="}),
        ("a time stamp", (_MATERIAL, "timestampVerificationData"), {}),
        ("the key itself", (_MATERIAL, "publicKey", "rawBytes"), "MAA="),
        ("the hint in capitals", _HINT, at(document, _HINT).upper()),
    )
    for what, place, value in places:
        yield Variant(what, _json(put(document, place, value)))


def base64_variants(bundle: bytes) -> Iterator[Variant]:
    """Other spellings of the same base64, and bad ones."""
    document = json.loads(bundle)
    for place in (_PAYLOAD, _SIG):
        text = str(at(document, place))
        for what, changed in (
            ("cut by one", text[:-1]),
            ("cut by two", text[:-2]),
            ("cut by three", text[:-3]),
            ("without padding", text.rstrip("=")),
            ("with more padding", f"{text}="),
            ("with a block of padding", f"{text}===="),
            ("with a line break", f"{text[:64]}\n{text[64:]}"),
            ("with a space at its end", f"{text} "),
            ("in the URL alphabet", text.replace("+", "-").replace("/", "_")),
            ("with a star", f"*{text[1:]}"),
            ("with stray bits", _stray(text)),
            ("in hexadecimal digits", base64.b64decode(text).hex()),
        ):
            if changed != text:
                yield Variant(f"{dotted(place)} {what}", _json(put(document, place, changed)))


def layouts(bundle: bytes) -> Iterator[Variant]:
    """Not tampered with: the same bundle in other JSON, and without its empty fields."""
    document = json.loads(bundle)
    yield Variant("indented", json.dumps(document, indent=4).encode())
    yield Variant("fields in another order", json.dumps(document, sort_keys=True).encode())
    yield Variant("escaped", bundle.replace(b'"hint"', b'"\\u0068int"'))
    for place in _EMPTY:
        yield Variant(f"no {dotted(place)}", _json(without(document, place)))


def _stray(text: str) -> str:
    """The same octets with other unused bits in the last digit before the padding."""
    body = text.rstrip("=")
    if body == text:
        return text
    return body[:-1] + _DIGITS[_DIGITS.index(body[-1]) ^ 1] + text[len(body) :]


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()
