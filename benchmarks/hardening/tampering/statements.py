"""What the key's owner could have signed and this product must not take: statements about something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from benchmarks.hardening.tampering.bundles import Variant
from benchmarks.hardening.tampering.edits import Place, at, edits, put
from nip_runtime.file.signing.envelope import Envelope, decode_bundle, pre_authentication
from nip_runtime.file.signing.keys import PrivateKey

_RESOURCES: Final = ("predicate", "resources")
_SERIALIZATION: Final = ("predicate", "serialization")
_IGNORED: Final = (*_SERIALIZATION, "ignore_paths")
_DIGESTS: Final = ("subject", 0, "digest")
_FREE: Final[dict[Place, type]] = {("subject", 0, "name"): str, (*_SERIALIZATION, "allow_symlinks"): bool}
"""The name binds nothing, and one file holds no links."""


def statement_variants(bundle: bytes, key: PrivateKey) -> Iterator[Variant]:
    """Other statements, each signed by the right key."""
    document = json.loads(decode_bundle(bundle).payload)
    for what, text in edits(document, free=_FREE):
        yield Variant(f"statement: {what}", sign_payload(text.encode(), key))
    resource, subject = at(document, (*_RESOURCES, 0)), at(document, ("subject", 0))
    places: tuple[tuple[str, Place, object], ...] = (
        ("a second file", _RESOURCES, [resource, resource | {"name": "weights.bin"}]),
        ("the file twice", _RESOURCES, [resource, resource]),
        ("a folder with one file", (*_RESOURCES, 0, "name"), "model.onnx"),
        ("a file outside", (*_RESOURCES, 0, "name"), "../model.onnx"),
        ("a digest in capitals", (*_RESOURCES, 0, "digest"), resource["digest"].upper()),
        ("itself ignored", _IGNORED, ["."]),
        ("everything ignored", _IGNORED, [""]),
        ("its folder ignored", _IGNORED, [".git", ".."]),
        ("the root ignored", _IGNORED, ["/"]),
        ("a number ignored", _IGNORED, [1]),
        ("predicate of version 0.2", ("predicateType",), "https://model_signing/Digests/v0.1"),
        ("predicate of provenance", ("predicateType",), "https://slsa.dev/provenance/v1"),
        ("an older statement", ("_type",), "https://in-toto.io/Statement/v0.1"),
        ("a second subject", ("subject", 1), subject),
        ("another root", (*_DIGESTS, "sha256"), resource["digest"]),
        ("a second root", (*_DIGESTS, "sha512"), "0" * 128),
        ("an end of validity", ("predicate", "expires"), "2000-01-01"),
    )
    for what, place, value in places:
        yield Variant(f"statement: {what}", _signed(put(document, place, value), key))
    for algorithm in ("blake2b", "blake3", "sha512"):
        hashed = put(
            put(document, (*_SERIALIZATION, "hash_type"), algorithm), (*_RESOURCES, 0, "algorithm"), algorithm
        )
        yield Variant(f"statement: {algorithm}", _signed(hashed, key))
    pieces = put(
        put(document, (*_SERIALIZATION, "method"), "shards"), (*_SERIALIZATION, "shard_size"), 1_000_000_000
    )
    yield Variant("statement: pieces", _signed(pieces, key))


def encoding_variants(bundle: bytes, key: PrivateKey) -> Iterator[Variant]:
    """The right statement, signed in a wrong encoding."""
    envelope = decode_bundle(bundle)
    payload, encoded = envelope.payload, pre_authentication(envelope.payload)
    # Release 0.2 of model_signing mixed text and bytes; later ones still take its signatures.
    old = b"DSSEV1 28 application/vnd.in-toto+json %d %a" % (len(payload), payload)
    for what, message in (
        ("the bare payload", payload),
        ("the encoding of an old release", old),
        ("another payload type", encoded.replace(b"in-toto+json", b"in-toto+text")),
        ("another version", encoded.replace(b"DSSEv1", b"DSSEv2")),
        ("a longer payload", pre_authentication(payload + b" ")),
        ("no payload", pre_authentication(b"")),
    ):
        yield Variant(f"signed: {what}", replace(envelope, signature=key.sign(message)).encode())


def sign_payload(payload: bytes, key: PrivateKey) -> bytes:
    """A bundle around any payload."""
    signature = key.sign(pre_authentication(payload))
    return Envelope(payload=payload, signature=signature, hint=key.public.fingerprint).encode()


def _signed(document: Any, key: PrivateKey) -> bytes:
    return sign_payload(json.dumps(document).encode(), key)
