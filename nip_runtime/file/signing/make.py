"""Signs the bytes of a model file."""

from __future__ import annotations

import hashlib

from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.signing.check import Signature, verify
from nip_runtime.file.signing.envelope import Envelope, pre_authentication
from nip_runtime.file.signing.keys import PrivateKey
from nip_runtime.file.signing.statement import Statement


def sign_content(content: Buffer, *, name: str, key: PrivateKey) -> tuple[bytes, Signature]:
    """Sign ``content`` and verify the result.

    Args:
        content: the bytes of the model file.
        name: the file's name, for people who read the statement.
        key: see :func:`nip_runtime.file.signing.keys.read_private_key`.

    Returns:
        The bundle's bytes, and what they say.
    """
    payload = Statement(name=name, sha256=hashlib.sha256(content).hexdigest()).encode()
    envelope = Envelope(
        payload=payload,
        signature=key.sign(pre_authentication(payload)),
        hint=key.public.fingerprint,
    )
    bundle = envelope.encode()
    return bundle, verify(content, bundle, key.public)
