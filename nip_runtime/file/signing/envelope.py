"""The bundle file: a Sigstore bundle v0.3 around a DSSE envelope, for one signature by a key.

Sources: https://docs.sigstore.dev/about/bundle/, https://github.com/secure-systems-lab/dsse (v1.0.0)
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.container.wholefile import Wanted, read_whole
from nip_runtime.file.signing.document import FIX, parse

MAX_BYTES: Final = 1 << 16
"""A bundle over one file has about 1,500."""
_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What a bundle holds.

    Attributes:
        payload: the statement's bytes.
        signature: over ``signed``, ECDSA in DER.
        hint: which key: SHA-256 of its public PEM in hexadecimal digits. Nobody signs it.
    """

    payload: bytes
    signature: bytes
    hint: str

    def encode(self) -> bytes:
        """The bundle file, in the order in which ``model_signing`` writes it."""
        material = {"publicKey": {"hint": self.hint}, "tlogEntries": []}
        signature = {"sig": _base64(self.signature), "keyid": ""}
        bundle = {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": _base64(self.payload),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [signature],
            },
        }
        return json.dumps(bundle, separators=(",", ":")).encode()


def pre_authentication(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding (PAE) of an in-toto payload."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def decode_bundle(content: bytes) -> Envelope:
    """Read a bundle. Nothing in it is verified yet.

    Raises:
        ArtifactError: if it is anything but one signature by a key over an in-toto statement.
    """
    if len(content) > MAX_BYTES:
        raise ArtifactError.mismatch(
            expected=f"a bundle of at most {MAX_BYTES} bytes", got="a longer file", fix=FIX
        )
    top = parse(content, where="bundle").fields("mediaType", "verificationMaterial", "dsseEnvelope")
    top["mediaType"].must_be(_MEDIA_TYPE)
    material = top["verificationMaterial"].fields("publicKey", optional=("tlogEntries",))
    if "tlogEntries" in material:
        material["tlogEntries"].must_be([])
    envelope = top["dsseEnvelope"].fields("payload", "payloadType", "signatures")
    envelope["payloadType"].must_be(_PAYLOAD_TYPE)
    signature = envelope["signatures"].only("signature").fields("sig", optional=("keyid",))
    if "keyid" in signature:
        signature["keyid"].must_be("")
    return Envelope(
        payload=envelope["payload"].octets(),
        signature=signature["sig"].octets(),
        hint=material["publicKey"].fields("hint")["hint"].sha256(),
    )


def read_bundle(path: Path, *, of: Path) -> bytes:
    """The bytes of the bundle at ``path``.

    Raises:
        ArtifactError: if it is missing, larger than a bundle, or can't be read.
    """
    fix = "get the bundle that belongs to the file, or sign it with `nip sign`"
    return read_whole(path, MAX_BYTES, Wanted(what=f"the signature of {of}", fix=fix))


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
