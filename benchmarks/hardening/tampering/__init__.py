"""Bundles that were tampered with, for whoever checks that each of them is refused."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.hardening.tampering.bundles import (
    Variant,
    base64_variants,
    byte_variants,
    field_variants,
    file_variants,
    layouts,
)
from benchmarks.hardening.tampering.signatures import signature_variants, twin
from benchmarks.hardening.tampering.statements import encoding_variants, sign_payload, statement_variants
from nip_runtime.file.signing.keys import PrivateKey

__all__ = ["Variant", "harmless", "sign_payload", "tampered"]


def tampered(bundle: bytes, key: PrivateKey, *, values: int) -> Iterator[Variant]:
    """All there is; every byte of the bundle in ``values`` other ways. ``key`` signed it."""
    yield from file_variants(bundle)
    yield from field_variants(bundle)
    yield from base64_variants(bundle)
    yield from signature_variants(bundle)
    yield from statement_variants(bundle, key)
    yield from encoding_variants(bundle, key)
    yield from byte_variants(bundle, values=values)


def harmless(bundle: bytes) -> Iterator[Variant]:
    """Bundles that say the same, and are taken."""
    yield from layouts(bundle)
    yield twin(bundle)
