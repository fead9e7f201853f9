"""P-256 keys from PEM files, through ``cryptography``."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nip_runtime.errors import InputError
from nip_runtime.file.container.wholefile import Wanted, read_whole
from nip_runtime.support.dependencies import load

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_log = logging.getLogger(__name__)

_MAX_BYTES: Final = 1 << 16
_CURVE: Final = "secp256r1"
_LABEL: Final = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----", re.MULTILINE)
_MAKE_KEY: Final = "make one with: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
_TAKE_PUBLIC: Final = "take it from the private key: openssl ec -in KEY -pubout -out PUB"
_PRIVATE: Final = Wanted(what="a private key file", fix=f"check the path, or {_MAKE_KEY}", error=InputError)
_PUBLIC: Final = Wanted(what="a public key file", fix=f"check the path, or {_TAKE_PUBLIC}", error=InputError)
_OTHERS_MAY_READ: Final = 0o077


@dataclass(frozen=True)
class PublicKey:
    """A P-256 key that signatures are verified with."""

    key: ec.EllipticCurvePublicKey

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key's PEM in hexadecimal digits: as ``sha256sum`` of openssl's public key file."""
        serialization = _crypto("serialization")
        pem: bytes = self.key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(pem).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this is an ECDSA signature, SHA-256, strict DER, over ``message``."""
        try:
            self.key.verify(signature, message, _ecdsa())  # OpenSSL compares it with its own DER of it
        except load("cryptography.exceptions").InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """A P-256 key that signs."""

    key: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        """Its other half."""
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """An ECDSA signature, SHA-256, in DER."""
        return self.key.sign(message, _ecdsa())


def read_public_key(path: str | Path) -> PublicKey:
    """Read a P-256 public key as ``openssl ec -pubout`` writes it (PEM).

    Raises:
        InputError: if there is none in this file, or something else: a private key, a certificate, a key of
            another kind or curve, several keys.
        DependencyError: if ``cryptography`` is missing.
    """
    path = Path(path)
    serialization = _crypto("serialization")
    content = read_whole(path, _MAX_BYTES, _PUBLIC)
    labels = _labels(content)
    if any("PRIVATE KEY" in label for label in labels):
        raise InputError.mismatch(
            expected=f"a public key in {path}",
            got="a private key",
            fix="keep it secret, never ship it; make the public one: openssl ec -in KEY -pubout -out PUB",
        )
    if labels != ["PUBLIC KEY"]:
        raise _not_pem(
            path, "a public key", content, labels, convert="openssl ec -pubin -inform DER -in FILE"
        )
    try:
        key = serialization.load_pem_public_key(content)
    except _unreadable() as error:
        raise InputError.mismatch(
            expected=f"a whole P-256 public key in {path}", got=_reason(error), fix="get the file again"
        ) from error
    _check_kind(key, key, path)
    return PublicKey(key)


def read_private_key(path: str | Path, *, passphrase: Callable[[], str] | None = None) -> PrivateKey:
    """Read a P-256 private key as openssl writes it: PEM, PKCS#8 or SEC1, encrypted or not.

    Args:
        path: of the key.
        passphrase: asked only if the key is encrypted.

    Raises:
        InputError: if there is none in this file, or one of another kind or curve; or if it is encrypted and
            the passphrase is missing or wrong.
        DependencyError: if ``cryptography`` is missing.
    """
    path = Path(path)
    serialization = _crypto("serialization")
    content = read_whole(path, _MAX_BYTES, _PRIVATE)
    # `openssl ecparam -genkey` without -noout writes the curve's name before the key.
    labels = [label for label in _labels(content) if label != "EC PARAMETERS"]
    if len(labels) != 1 or not labels[0].endswith("PRIVATE KEY"):
        raise _not_pem(path, "a private key", content, labels, convert="openssl ec -inform DER -in FILE")
    encrypted = labels[0].startswith("ENCRYPTED") or b"ENCRYPTED" in content
    secret = _ask(path, passphrase) if encrypted else None
    try:
        key = serialization.load_pem_private_key(content, secret)
    except _unreadable() as error:
        raise InputError.mismatch(
            expected=f"a whole P-256 private key in {path}" + (" and its passphrase" if encrypted else ""),
            got="a wrong passphrase or a damaged key" if encrypted else _reason(error),
            fix="try again" if encrypted else "get the file again",
        ) from error
    _check_kind(key, key.public_key(), path)
    if path.stat().st_mode & _OTHERS_MAY_READ:
        _log.warning("others on this machine may read the private key %s: chmod 600 %s", path, path)
    return PrivateKey(key)


def _ask(path: Path, passphrase: Callable[[], str] | None) -> bytes:
    if passphrase is None:
        raise InputError.mismatch(
            expected=f"a passphrase for the encrypted key {path}", got="none", fix="hand one over"
        )
    # As in the environment, where bytes that are no UTF-8 come as lone surrogates.
    return os.fsencode(passphrase())


def _labels(content: bytes) -> list[str]:
    return [label.decode("ascii") for label in _LABEL.findall(content)]


def _not_pem(path: Path, expected: str, content: bytes, labels: list[str], *, convert: str) -> InputError:
    got = " and ".join(f"a {label.lower()}" for label in labels[:3]) or "no PEM at all"
    if not labels and content[:1] == b"\x30":  # a DER sequence
        got, fix = "a DER file", f"convert it: {convert}"
    elif "private" in expected:
        fix = f"name the private key alone, or {_MAKE_KEY}"
    elif "CERTIFICATE" in labels:
        fix = "take its key out: openssl x509 -in FILE -pubkey -noout"
    else:
        fix = _TAKE_PUBLIC
    return InputError.mismatch(expected=f"{expected} as PEM in {path}", got=got, fix=fix)


def _check_kind(key: object, public: Any, path: Path) -> None:
    ec = _crypto("asymmetric.ec")
    if isinstance(public, ec.EllipticCurvePublicKey):
        got = f"one on the curve {public.curve.name}"
        if public.curve.name == _CURVE:
            return
    else:
        got = f"a key of type {type(key).__name__.removesuffix('PublicKey').removesuffix('PrivateKey')}"
    raise InputError.mismatch(expected=f"a P-256 key in {path}", got=got, fix=_MAKE_KEY)


def _unreadable() -> tuple[type[Exception], ...]:
    return ValueError, TypeError, load("cryptography.exceptions").UnsupportedAlgorithm


def _reason(error: Exception) -> str:
    # cryptography goes on with a link to its questions and answers.
    return f"something else ({str(error).partition('. ')[0]})"


def _ecdsa() -> ec.ECDSA:
    algorithm: ec.ECDSA = _crypto("asymmetric.ec").ECDSA(_crypto("hashes").SHA256())
    return algorithm


def _crypto(module: str) -> Any:
    load("cryptography")  # by this name the error says which extra is missing
    return load(f"cryptography.hazmat.primitives.{module}")
