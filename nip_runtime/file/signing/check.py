"""Verifies that a key's owner signed these very bytes."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.signing.document import FIX, shown
from nip_runtime.file.signing.envelope import decode_bundle, pre_authentication, read_bundle
from nip_runtime.file.signing.keys import PublicKey, read_public_key
from nip_runtime.file.signing.statement import read_statement

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature that was verified, or just made.

    Attributes:
        digest: "sha256:…" of the file's bytes.
        size_bytes: of the file.
        name: of the file when it was signed; it may have another now.
        fingerprint: "sha256:…" of the signer's public key as PEM; the bundle's hint agrees with it.
    """

    digest: str
    size_bytes: int
    name: str
    fingerprint: str


def bundle_path(path: Path) -> Path:
    """Where the bundle of a file lies unless it is said otherwise: beside it, as "<name>.sig".

    Raises:
        InputError: if the path ends in no name: ".", "/" and the empty one.
    """
    if not path.name:
        raise InputError.mismatch(expected="the path of a file", got=f"the folder {path}", fix="name a file")
    return path.with_name(f"{path.name}.sig")


def check_signature(
    content: Buffer, *, origin: Path, public_key: str | Path, bundle: str | Path | Buffer | None = None
) -> Signature:
    """Verify that the owner of ``public_key`` signed ``content``. Nothing in ``content`` is parsed.

    The file's name takes no part: a renamed file verifies, and :attr:`Signature.name` says what it was.

    Args:
        content: the bytes of the model file; verified are these, not what the file holds later.
        origin: the file's path, for errors and for the default of ``bundle``.
        public_key: path of a P-256 public key (PEM).
        bundle: path of the bundle, or its bytes; by default ``bundle_path(origin)``.

    Raises:
        ArtifactError: if the bundle is missing, damaged or of another kind, another key signed, or other
            bytes were signed.
        InputError: if ``public_key`` is no P-256 public key, or ``origin`` no file's path.
        DependencyError: if the extra "sign" is not installed.
    """
    key = read_public_key(public_key)
    if bundle is None or isinstance(bundle, str | Path):
        place = bundle_path(origin) if bundle is None else Path(bundle)
        packed, where = read_bundle(place, of=origin), f"signature {place}"
    else:
        packed, where = bytes(bundle), "the signature given"
    try:
        signature = verify(content, packed, key)
    except ArtifactError as error:
        raise ArtifactError(f"{origin}, {where}: {error}") from error
    _log.info("%s (%s) is signed by the key %s", origin, signature.digest, signature.fingerprint)
    return signature


def verify(content: Buffer, bundle: bytes, key: PublicKey) -> Signature:
    """Verify ``content`` against the bytes of a bundle.

    The statement is read only once its signature holds.

    Raises:
        ArtifactError: as :func:`check_signature`.
    """
    envelope = decode_bundle(bundle)
    fingerprint = key.fingerprint
    if envelope.hint != fingerprint:
        raise ArtifactError.mismatch(
            expected=f"a signature by the key sha256:{fingerprint}",
            got=f"one by sha256:{envelope.hint}",
            fix="check that this is the signer's public key, and the bundle the one the signer published",
        )
    if not key.verifies(envelope.signature, pre_authentication(envelope.payload)):
        raise ArtifactError.mismatch(
            expected=f"a statement signed by the key sha256:{fingerprint}",
            got="a signature that does not fit",
            fix=f"the bundle was changed or forged: {FIX}",
        )
    statement = read_statement(envelope.payload)
    digest = hashlib.sha256(content).hexdigest()
    if statement.sha256 != digest:
        raise ArtifactError.mismatch(
            expected=f"the bytes that were signed as {shown(statement.name)} (sha256:{statement.sha256})",
            got=f"others (sha256:{digest})",
            fix="the file was changed or the bundle belongs to another: get both again from the signer",
        )
    return Signature(
        digest=f"sha256:{digest}",
        size_bytes=len(content),
        name=statement.name,
        fingerprint=f"sha256:{fingerprint}",
    )
